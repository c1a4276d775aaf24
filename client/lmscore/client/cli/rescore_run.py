"""One run of ``lmscore rescore``: what it reads, asks, writes, and remembers of how far it got."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import click

from lmscore.client.appending import AppendedFiles
from lmscore.client.cli.output import answered_by, complain, json_line, note, output
from lmscore.client.cli.word_errors import Comparison
from lmscore.client.client import Client
from lmscore.client.combination import CombinationWeights, unknown_features
from lmscore.client.nbest import FORMATS, SCORE, Source, UnwritableError, lists_of, recognized
from lmscore.client.nbest_formats.format import Layout, Parts
from lmscore.client.progress_file import Progress, progress_path
from lmscore.client.ranked_output import RankedOutput, outcome_parts, output_named
from lmscore.client.requests import NBestList
from lmscore.client.rescoring import Outcome, RankedList, Rescorer, UnrankedList
from lmscore.client.results import ModelIdentity
from lmscore.client.textfile import STDIN

JSON = "json"
_SECONDS_BETWEEN_SAVES = 1.0


@dataclass(frozen=True)
class Job:
    """What the command line says of input and output."""

    source: Source
    format_name: str | None
    path: str
    output_format: str
    batch_hypotheses: int

    @property
    def tracked(self) -> bool:
        """Whether progress is kept: not of standard output, pipes and devices."""
        path = Path(self.path)
        if self.path == STDIN or path.is_relative_to("/dev"):  # where /dev/stdout may be a file
            return False
        return not path.exists() or path.is_file() or path.is_dir()


class _StandardOutput:
    """Standard output, as what lists are appended to."""

    offsets: Mapping[str, int] = {}

    def __init__(self, out: TextIO) -> None:
        self.terminal = out
        self._out = out

    def append(self, parts: Parts) -> None:
        for text in parts.values():
            self._out.write(text)

    def sync(self) -> None:
        self._out.flush()


class _FileOutput(AppendedFiles):
    """Files; no terminal that lines come by on."""

    terminal = None


class Run:
    """Steps: prepare, open, and the batches, after each of which everything may end."""

    def __init__(
        self,
        job: Job,
        client: Client,
        models: Sequence[ModelIdentity],
        weights: CombinationWeights,
    ) -> None:
        self._job = job
        self._models = models
        self._weights = weights
        self._rescorer = Rescorer(client, models, weights, job.batch_hypotheses)
        self._compared = Comparison()
        self._progress = Progress({})
        self._saved_at = -math.inf
        self._hopeless = False  # the same would happen again

    @property
    def count(self) -> int:
        """Lists that are done."""
        return self._progress.lists

    @property
    def failed(self) -> int:
        """How many of them could not be ranked."""
        return self._progress.failed

    def print_word_errors(self) -> None:
        """Write the rates to standard error, if there are references."""
        self._compared.print()

    def prepare(self, *, resume: bool) -> None:
        """Everything up to the first answer, so that nothing is written if it fails."""
        source = self._job.source
        name = self._job.format_name or recognized(source)
        lists = lists_of(source, known := FORMATS[name])
        first = next(lists)
        features = first.hypotheses[0].features
        self._output = (
            _json_output(self._models)
            if self._job.output_format == JSON
            else output_named(self._job.output_format, known, features)
        )
        self._names = [*features, *([m.name for m in self._models] * self._output.adds_features)]
        uniform = not known.features_vary or features.keys() == {SCORE}
        self._check(first, sparse=not uniform)
        self._progress = self._begun(self._settings(name), resume=resume)
        rest = self._skipped(chain([first], lists))
        batches = self._rescorer.ranked(rest, uniform=features if uniform else None)
        self._batches = chain(list(islice(batches, 1)), batches)

    def _check(self, first: NBestList, *, sparse: bool) -> None:
        """Usage errors for what cannot come to a good end."""
        path = Path(self._job.path)
        if self._output.layout is not Layout.FILE and self._job.path == STDIN:
            raise click.UsageError("this format is a folder: name one with --output")
        if self._output.layout is Layout.FILE and path.is_dir():
            raise click.UsageError(f"--output {path} is a folder")
        if self._output.layout is Layout.FILE and not path.parent.is_dir():
            raise click.UsageError(f"there is no folder {path.parent}")
        if self._output.one_model and len(self._models) > 1:
            raise click.UsageError("the format has room for one language model: use tsv or jsonl")
        taken = [m.name for m in self._models if m.name in first.hypotheses[0].features]
        if taken and self._output.adds_features:
            raise click.UsageError(
                f"the lists have a feature {taken[0]} already, which the model's would replace"
            )
        for name in unknown_features(first, list(self._weights.features)):
            if not sparse:
                raise click.UsageError(f"--feature-weight {name}: the lists have no such feature")
            complain(f"the first list has no feature {name}, which has a weight")

    def _settings(self, format_name: str) -> dict[str, Any]:
        """What the output depends on, by names for people."""
        weights = self._weights
        return {
            "the size of the input": self._job.source.size,
            "its format": format_name,
            "--beam-size": self._job.source.beam_size,
            "the output format": self._job.output_format,
            "--batch": self._job.batch_hypotheses,
            **{f"the fingerprint of model {m.name}": m.fingerprint for m in self._models},
            "--model": [model.name for model in self._models],
            "the weights of models": weights.models,
            "the weights of features": weights.features,
            "--length-bonus": weights.length_bonus,
            "--oov-penalty": weights.oov_penalty,
            "the OOV penalties of models": weights.oov_penalties,
        }

    def _begun(self, settings: Mapping[str, Any], *, resume: bool) -> Progress:
        """How far an earlier run got; nowhere without --resume, or if there was none."""
        if resume and not self._job.tracked:
            raise click.UsageError("--resume needs a file or folder as --output")
        found = Progress.load(progress_path(self._job.path)) if resume else None
        if found is None:
            self._refuse_full_folder()
            return Progress(settings)
        if differences := found.differences(settings):
            raise click.ClickException(
                f"cannot go on with {self._job.path}: {'; '.join(differences)}. "
                "Start again without --resume"
            )
        self._compared.restore(found.word_errors)
        return found

    def _refuse_full_folder(self) -> None:
        path = Path(self._job.path)
        if self._output.layout is not Layout.FILE and path.is_dir() and any(path.iterdir()):
            raise click.UsageError(f"--output {path} is a folder with files in it")

    def _skipped(self, lists: Iterator[NBestList]) -> Iterator[NBestList]:
        """The lists after those that are done; fails if these are others."""
        done = self._progress.lists
        last = None
        for count, last in enumerate(islice(lists, done), 1):
            if count == done and last.id == self._progress.last_id:
                return lists
        if done:
            found = f"is {last.id}" if last else "is missing"
            raise click.ClickException(
                f"cannot go on with {self._job.path}: list {done} of {self._job.source.path} "
                f"was {self._progress.last_id} and {found}"
            )
        return lists

    @contextmanager
    def opened(self) -> Iterator[_StandardOutput | _FileOutput]:
        """The output, from where it goes on; its progress is kept until all is done."""
        if self._job.path == STDIN:
            with output() as out:
                self._out: _StandardOutput | _FileOutput = _StandardOutput(out)
                yield self._out
                self._out.append(self._output.end(self._progress.written))
            return
        self._make_place()
        self._save()  # first, so that a folder with files in it is known as ours
        offsets = self._progress.offsets
        with _FileOutput(self._job.path, self._output.layout, offsets) as self._out:
            try:
                yield self._out
            except BaseException:
                self._note_how_to_go_on()
                raise
            self._out.append(self._output.end(self._progress.written))
            self._out.sync()
        if self._job.tracked:
            progress_path(self._job.path).unlink()

    def _note_how_to_go_on(self) -> None:
        if self._job.tracked and self._progress.lists and not self._hopeless:
            done = self._progress.lists
            note(
                f"lmscore: {done} {'list is' if done == 1 else 'lists are'} done: --resume goes on"
            )

    def batches(self) -> Iterator[int]:
        """Write batch after batch; gives how many lists are done."""
        for batch in self._batches:
            for outcome in batch:
                self._write(outcome)
            if time.monotonic() - self._saved_at > _SECONDS_BETWEEN_SAVES:
                self._out.sync()
                self._progress = replace(
                    self._progress,
                    offsets=dict(self._out.offsets),
                    word_errors=self._compared.state(),
                )
                self._save()
                self._saved_at = time.monotonic()
            yield self._progress.lists

    def _write(self, outcome: Outcome) -> None:
        done = self._progress
        try:
            self._out.append(outcome_parts(self._output, done.written, outcome, self._names))
        except UnwritableError as error:
            self._hopeless = True
            raise click.ClickException(str(error)) from error
        failed = isinstance(outcome, UnrankedList)
        if isinstance(outcome, UnrankedList):
            complain(f"list {outcome.given.id}: {outcome.problem}")
        else:
            self._compared.add(outcome.given, outcome.ranking.best)
        self._progress = replace(
            done,
            lists=done.lists + 1,
            last_id=outcome.given.id,
            failed=done.failed + failed,
            written=done.written + (not failed),
        )

    def _make_place(self) -> None:
        """Make what is not there of the output, so that its progress can stand beside it."""
        if not self._job.tracked:
            return  # to open a pipe twice would end it for its reader
        if self._output.layout is Layout.FILE:
            Path(self._job.path).open("ab").close()
        else:
            Path(self._job.path).mkdir(parents=True, exist_ok=True)

    def _save(self) -> None:
        if self._job.tracked:
            self._progress.save(progress_path(self._job.path))


def _json_output(models: Sequence[ModelIdentity]) -> RankedOutput:
    """Records of what one model said; or each of several, by its name."""

    def render(_: int, ranked: RankedList, __: Sequence[str]) -> Parts:
        record = {
            "id": ranked.given.id,
            "text": ranked.best.text,
            "order": ranked.ranking.order,
            "totals": ranked.ranking.totals,
        }
        figures = {name: _figures(ranked, name) for name in ranked.answers}
        if len(models) == 1:
            return {"": json_line({**record, **figures[models[0].name], **answered_by(models[0])})}
        versions = {model.name: {"version": model.version} for model in models}
        by_model = {name: {**figures[name], **versions[name]} for name in figures}
        return {"": json_line({**record, "models": by_model})}

    return RankedOutput(render)


def _figures(ranked: RankedList, model: str) -> dict[str, Any]:
    answer = ranked.answers[model]
    return {
        "log_probs": answer.log_probs,
        "token_counts": answer.token_counts,
        "oov_counts": answer.oov_counts,
    }
