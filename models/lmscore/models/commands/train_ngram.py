"""``lmscore-train ngram``: an n-gram model from text."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmscore.models.commands.running import ParameterType, ProgressBar, progress_bar

if TYPE_CHECKING:
    from lmscore.models.estimation.training import TrainingReport, TrainingSettings
    from lmscore.models.measures import Measures
    from lmscore.models.ngram.model import NgramModel
    from lmscore.models.ngram.table import NgramTable

_FILE = click.Path(path_type=Path)
_INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_ENDINGS = (".ngram", ".arpa", ".arpa.gz")
SMOOTHING_NAMES = (  # those of estimation.smoothing, whose import takes too long for --help
    "modified-kneser-ney",
    "kneser-ney",
    "absolute",
    "witten-bell",
    "katz",
    "jelinek-mercer",
    "additive",
    "maximum-likelihood",
)


class _Bytes(ParameterType[int]):
    """A number of bytes such as 4G."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)i?B?", value, re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a number of bytes, such as 500M or 4G", param, ctx)
        return int(float(match[1]) * (1 << _UNITS[match[2].upper()]))


class _Counts(ParameterType[tuple[int, ...]]):
    """Counts by length, such as 0,0,1."""

    name = "counts"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"\d+(,\d+)*", value):
            self.fail(f"{value!r} is not a list of counts, such as 0,0,1", param, ctx)
        return tuple(map(int, value.split(",")))


@click.command(context_settings={"show_default": True})
@click.argument("corpora", nargs=-1, required=True, type=_FILE, metavar="CORPUS...")
@click.argument("output", type=_FILE)
@click.option("--order", default=3, help="Length of the longest n-grams.")
@click.option(
    "--smoothing", type=click.Choice(SMOOTHING_NAMES), default="modified-kneser-ney",
    help="How probability is kept for what the text has not.",
)  # fmt: skip
@click.option("--added", default=1.0, help="What additive smoothing adds to every count.")
@click.option(
    "--tokens", type=click.Choice(["words", "characters"]), default="words",
    help="What lines are split into.",
)  # fmt: skip
@click.option("--tokenizer", type=_INPUT, help="A tokenizer.json whose subwords are the tokens.")
@click.option("--vocabulary", type=_INPUT, help="A file with the words to know; others are <unk>.")
@click.option("--min-count", default=1, help="Words that occur less often are <unk>.")
@click.option("--top-words", type=int, help="Know no more words than this, the most frequent.")
@click.option(
    "--cutoffs", type=_Counts(), default=(), metavar="0,N,...", show_default="none",
    help="By length, n-grams that occur so often or less are left out; the last number is "
    "that of all longer ones too.",
)  # fmt: skip
@click.option(
    "--prune", default=0.0,
    help="Leave out n-grams without which perplexity rises by less than this share, "
    "such as 1e-8 (Stolcke).",
)  # fmt: skip
@click.option("--heldout", type=_INPUT, help="Text to measure on, and to fit Jelinek-Mercer on.")
@click.option(
    "--memory", type=_Bytes(), default="4G",
    help="A corpus that needs more is counted in parts, in temporary files.",
)  # fmt: skip
@click.option("--temporary", type=_FOLDER, help="Folder for temporary files.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def ngram(
    corpora: tuple[Path, ...],
    output: Path,
    order: int,
    smoothing: str,
    added: float,
    tokens: Any,
    tokenizer: Path | None,
    vocabulary: Path | None,
    min_count: int,
    top_words: int | None,
    cutoffs: tuple[int, ...],
    prune: float,
    heldout: Path | None,
    memory: int,
    temporary: Path | None,
    as_json: bool,
) -> None:
    """Estimate an n-gram model from text, one sentence a line.

    CORPUS is UTF-8, plain or compressed by gzip, bzip2 or xz, - for standard input. OUTPUT ends
    in .arpa, .arpa.gz or .ngram, and appears once it is whole. Words are separated by blanks;
    <unk> in a text is a word that is not known, <s> and </s> are errors.

    \b
    Examples:
      lmscore-train ngram --order 5 news.txt.gz news.ngram
      lmscore-train ngram --smoothing additive --added 0.1 --tokens characters names.txt names.arpa
    """
    _check_output(output)
    if tokenizer is not None and tokens == "characters":
        raise click.UsageError("tokens are either characters or a tokenizer's subwords")
    from lmscore.models.estimation.training import TrainingSettings, train

    try:
        settings = TrainingSettings(
            order=order,
            smoothing=smoothing,
            added=added,
            tokens=tokenizer or tokens,
            word_list=vocabulary,
            least_count=min_count,
            most_words=top_words,
            cutoffs=cutoffs,
            prune_threshold=prune,
            heldout=heldout,
            memory_bytes=memory,
            temporary_folder=temporary,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with progress_bar() as bar:
        table, report = train(
            corpora,
            settings,
            step=bar.begin,
            observer=lambda _, done, size: bar.advance(done, size),
        )
        measures = _finish(table, settings, output, bar)
    click.echo(_as_json(report, measures) if as_json else _as_text(report, measures))


def _check_output(output: Path) -> None:
    """Fail now rather than when the work is done, if nothing can be written there."""
    if not output.name.endswith(_ENDINGS):
        raise click.UsageError(f"{output}: a model's name ends in .arpa, .arpa.gz or .ngram")
    if output.is_dir():
        raise click.UsageError(f"{output}: a folder")
    if not output.parent.is_dir():
        raise click.UsageError(f"{output.parent}: no such folder")
    with tempfile.TemporaryFile(dir=output.parent):
        pass


def _finish(
    table: NgramTable, settings: TrainingSettings, output: Path, bar: ProgressBar
) -> Measures | None:
    """Write a model, and measure it on the held-out text if there is one."""
    from lmscore.models.measures import measure
    from lmscore.models.ngram.arpa_writer import write_arpa
    from lmscore.models.ngram.file import save_ngram
    from lmscore.models.ngram.from_table import model_from_table

    model: NgramModel | None = None
    if output.suffix == ".ngram" or settings.heldout is not None:
        bar.begin("building")
        model = model_from_table(table)
    bar.begin("writing")
    if output.suffix == ".ngram" and model is not None:
        save_ngram(model, output, bar.advance)
    else:
        write_arpa(table, output, bar.advance)
    if settings.heldout is None or model is None:
        return None
    bar.begin("measuring")
    return measure(model, _texts(settings.heldout, settings))


def _texts(path: Path, settings: TrainingSettings) -> Iterator[tuple[bytes, bytes]]:
    from lmscore.models.estimation.corpus import read_blocks
    from lmscore.models.estimation.training import segmenter

    segment = segmenter(settings.tokens)
    return ((block.data, block.segmented(segment)) for block in read_blocks(path))


def _as_json(report: TrainingReport, measures: Measures | None) -> str:
    record = asdict(report)
    if measures is not None:
        record["heldout"] = {
            "events": measures.events,
            "oov_events": measures.oov_events,
            "log_prob": measures.log_prob,
            "perplexity": measures.perplexity,
            "perplexity_excluding_oov": measures.perplexity_excluding_oov,
        }
    return json.dumps(record)


def _as_text(report: TrainingReport, measures: Measures | None) -> str:
    lines = [
        f"{report.tokens} tokens ({report.unknown_tokens} unknown) in {report.sentences} "
        f"sentences; {report.vocabulary_size} words" + ("; counted on disk" * report.on_disk),
        *(
            f"{n}-grams  {kept} of {seen}"
            for n, (kept, seen) in enumerate(
                zip(report.ngrams_kept, report.ngrams_seen, strict=True), 1
            )
        ),
    ]
    for name, value in report.notes.items():
        if name == "discounts":
            lines += [
                f"discounts of {n}-grams  " + "  ".join(f"{amount:.4f}" for amount in row)
                for n, row in enumerate(value, 1)
            ]
        else:
            lines.append(f"{name.replace('_', ' ')}  {value}")
    if measures is not None:
        lines.append(
            f"held-out perplexity  {measures.perplexity:.4f} with and "
            f"{measures.perplexity_excluding_oov:.4f} without {measures.oov_events} unknown words "
            f"among {measures.events} events"
        )
    return "\n".join(lines)
