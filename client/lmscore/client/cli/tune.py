"""``lmscore tune``: weights for re-ranking, from lists with references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmscore.client.cli.options import (
    batch_option,
    connect_to,
    connection_options,
    json_option,
    models_option,
    named_weight,
    nbest_options,
)
from lmscore.client.cli.output import complain, json_line, note, output, progress
from lmscore.client.cli.tune_report import as_record, as_text
from lmscore.client.client import Client
from lmscore.client.combination import CombinationWeights
from lmscore.client.nbest import Source, read_nbest
from lmscore.client.requests import NBestList
from lmscore.client.rescoring import Outcome, Rescorer, UnrankedList
from lmscore.client.results import ModelIdentity, RescoredList
from lmscore.client.textfile import STDIN
from lmscore.client.weights_file import write_weights

if TYPE_CHECKING:
    from lmscore.client.tuning import Tuning


@click.command()
@nbest_options
@models_option
@click.option(
    "--metric",
    type=click.Choice(["wer", "cer", "bleu", "chrf"]),
    default="wer",
    show_default=True,
    help="What is to be as good as possible.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    metavar="N",
    help="Parts of the lists, each judged by weights from the others.",
)
@click.option(
    "--restarts",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    metavar="N",
    help="Searches from random weights, besides those from 0 and from each model alone.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of folds, restarts and intervals: the same one gives the same weights.",
)
@click.option(
    "--fix",
    "fixed",
    type=named_weight,
    multiple=True,
    metavar="NAME=WEIGHT",
    help="Keep the weight of a model or feature, length_bonus or oov_penalty.",
)
@click.option(
    "--features",
    type=click.Choice(["score", "all"]),
    default="score",
    show_default=True,
    help="Which scores of the lists count: as rescore does, or all, each with its own weight.",
)
@click.option(
    "-o",
    "--output",
    "weights_file",
    type=click.Path(dir_okay=False),
    metavar="FILE.toml",
    help="Write the weights, for `lmscore rescore --weights`.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False),
    metavar="FILE.png",
    help="Draw the metric against the weight of each model (needs matplotlib).",
)
@batch_option(2000, "Hypotheses")
@json_option
@connection_options
def tune(
    nbest: str,
    format_name: str | None,
    beam_size: int | None,
    models: tuple[str, ...],
    metric: str,
    folds: int,
    restarts: int,
    seed: int,
    fixed: tuple[tuple[str, float], ...],
    features: str,
    weights_file: str | None,
    plot: str | None,
    batch: int,
    as_json: bool,
    address: str,
    timeout: float,
) -> None:
    """Find the weights of models, length and OOV tokens that rank n-best lists best.

    The lists need references; those without are left out. What the weights gain is told for the
    lists they were tuned on, and by cross-validation: what to expect on others. Intervals are of
    95 %, from a bootstrap over lists. The formats of NBEST are those of `lmscore rescore`.

    \b
    Examples:
      lmscore tune dev.jsonl --model news -o weights.toml
      lmscore tune dev.jsonl --model news --model lstm --folds 10 --plot tune.png -o weights.toml
      lmscore tune dev.moses --metric bleu --features all --fix length_bonus=0 --json
      lmscore rescore test.jsonl --weights weights.toml
    """
    _check(models, plot, [nbest, weights_file, plot])
    source = Source(nbest, beam_size)
    try:
        with connect_to(address, timeout, models) as (client, identities):
            answered = _answers(client, identities, source, format_name, batch)
    finally:
        source.close()
    tuning = _tuned(
        answered,
        metric=metric,
        folds=folds,
        restarts=restarts,
        seed=seed,
        fixed=dict(fixed),
        features=features,
    )
    with output() as out:
        out.write(json_line(as_record(tuning)) if as_json else as_text(tuning))
    for warning in tuning.warnings:
        complain(f"note: {warning}")
    if weights_file is not None:
        write_weights(weights_file, tuning.weights)
    if plot is not None:
        from lmscore.client.tuning.plot import picture

        Path(plot).write_bytes(picture(tuning))


@dataclass
class _Answered:
    """Lists with references, what models say of them, and how many others there are."""

    lists: list[NBestList]
    answers: dict[str, list[RescoredList]]  # by model
    without_reference: int = 0
    failed: int = 0


@dataclass
class _Searches:
    """How many searches are done, for a bar."""

    size: int
    position: int = 0
    path: str = "tuning"

    def one_done(self) -> None:
        """Count one."""
        self.position += 1


def _check(models: Sequence[str], plot: str | None, paths: Sequence[str | None]) -> None:
    """Usage errors and what is missing, before anything takes its time."""
    for name in models:
        if models.count(name) > 1:
            raise click.UsageError(f"--model {name} is given more than once")
    places = [Path(path).absolute() for path in paths if path not in (None, STDIN)]
    if len(set(places)) < len(places):
        raise click.UsageError("NBEST, --output and --plot have to be different files")
    if plot is not None and find_spec("matplotlib") is None:
        raise click.ClickException("--plot needs matplotlib: pip install 'lmscore[plot]'")
    for path in paths[1:]:
        if path is not None and not Path(path).parent.is_dir():
            raise click.UsageError(f"there is no folder {Path(path).parent}")


def _answers(
    client: Client,
    models: Sequence[ModelIdentity],
    source: Source,
    format_name: str | None,
    batch: int,
) -> _Answered:
    """Ask all models about the lists that have a reference."""
    found = _Answered([], {model.name: [] for model in models})
    rescorer = Rescorer(client, models, CombinationWeights(), batch)
    with progress(source) as shown:
        lists = _with_reference(read_nbest(source, format=format_name), found)
        for outcomes in rescorer.ranked(lists, uniform=None):
            for outcome in outcomes:
                _keep(outcome, found)
            shown()
    if not found.lists:
        raise click.ClickException(f"{source.path}: no list has a reference to tune on")
    if found.without_reference:
        note(f"lmscore: {found.without_reference} lists have no reference and are left out")
    if found.failed:
        note(f"lmscore: {found.failed} lists could not be scored and are left out")
    return found


def _with_reference(lists: Iterable[NBestList], found: _Answered) -> Iterator[NBestList]:
    for each in lists:
        if each.reference is None:
            found.without_reference += 1
        elif each.hypotheses:
            yield each


def _keep(outcome: Outcome, found: _Answered) -> None:
    if isinstance(outcome, UnrankedList):
        complain(f"list {outcome.given.id}: {outcome.problem}")
        found.failed += 1
        return
    found.lists.append(outcome.given)
    for name, answer in outcome.answers.items():
        found.answers[name].append(answer)


def _tuned(answered: _Answered, *, folds: int, restarts: int, **settings: Any) -> Tuning:
    from lmscore.client.tuning import steps_of, tune  # numpy takes its time to import

    searches = _Searches(steps_of(folds, len(answered.answers), restarts))
    with progress(searches) as shown:

        def report() -> None:
            searches.one_done()
            shown()

        try:
            return tune(
                answered.lists,
                answered.answers,
                folds=folds,
                restarts=restarts,
                report=report,
                **settings,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
