"""``lmscore rescore``: the best hypothesis of every n-best list."""

from __future__ import annotations

from itertools import chain, islice, tee
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from lmscore.client.cli.options import (
    batch_option,
    connect,
    connection_options,
    finite,
    json_option,
    model_option,
    named_weight,
)
from lmscore.client.cli.output import (
    answered_by,
    complain,
    json_line,
    output,
    progress,
    table_text,
)
from lmscore.client.errors import ItemError
from lmscore.client.nbest import read_nbest
from lmscore.client.requests import NBestList, RescoreWeights
from lmscore.client.results import ModelIdentity, RescoredList
from lmscore.client.textfile import STDIN, LineReader

if TYPE_CHECKING:
    from lmscore.client.wer import WerComparison


@click.command()
@click.argument(
    "nbest", metavar="NBEST|-", type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--lm-weight",
    type=finite,
    metavar="NUMBER",
    default=1.0,
    show_default=True,
    help="Factor of the model's log-probability (nats).",
)
@click.option(
    "--length-bonus",
    type=finite,
    metavar="NUMBER",
    default=0.0,
    show_default=True,
    help="Added for every word.",
)
@click.option(
    "--oov-penalty",
    type=finite,
    metavar="NUMBER",
    default=0.0,
    show_default=True,
    help="Subtracted for every out-of-vocabulary token.",
)
@click.option(
    "--feature-weight",
    "feature_weights",
    type=named_weight,
    multiple=True,
    metavar="NAME=WEIGHT",
    help='Factor of a score of the list; 1 if not given. The formats below call theirs "score".',
)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(dir_okay=False, allow_dash=True),
    default=STDIN,
    metavar="FILE",
    help="Where to write; default: standard output.",
)
@batch_option(2000, "Hypotheses")
@model_option
@json_option
@connection_options
def rescore(
    nbest: str,
    lm_weight: float,
    length_bonus: float,
    oov_penalty: float,
    feature_weights: tuple[tuple[str, float], ...],
    path: str,
    batch: int,
    model: str,
    as_json: bool,
    address: str,
    timeout: float,
) -> None:
    """Choose the best hypothesis of every n-best list, by the list's score and the model's.

    A hypothesis' total is its score + lm-weight * log-probability (nats) + length-bonus * words
    - oov-penalty * OOV tokens. Writes "id TAB text" for every list, in order. Where the lists
    have references, word error rates before and after follow on standard error, with that of the
    oracle: the best hypothesis that there is.

    NBEST is plain or gzipped, in one of these formats:

    \b
      {"id": "utt1", "ref": "optional", "hyps": [["text", -3.1], ...]}   a list a line
      id TAB score TAB text                                              a hypothesis a line

    \b
    Examples:
      lmscore rescore nbest.jsonl --lm-weight 0.003
      lmscore rescore nbest.tsv.gz --lm-weight 0.5 --length-bonus 0.2 -o best.txt
      lmscore rescore nbest.jsonl --feature-weight score=2 --json | jq .text
    """
    _refuse_repeated([name for name, _ in feature_weights])
    _keep_input(nbest, path)
    weights = RescoreWeights(lm_weight, length_bonus, oov_penalty, dict(feature_weights))
    write = _json if as_json else _line
    lines = LineReader(nbest)
    compared = Comparison()
    count = failed = 0
    with connect(address, timeout, model) as client:
        sent, kept = tee(read_nbest(lines))
        answers = client.rescore_stream(sent, [weights], batch_hypotheses=batch)
        first = list(islice(answers, 1))  # before opening the output, which empties it
        with output(path) as out, progress(lines, out) as shown:
            for answer in chain(first, answers):
                # kept goes on after the answer
                for outcome, given in zip(answer.outcomes, kept, strict=False):
                    count += 1
                    if isinstance(outcome, ItemError):
                        complain(f"list {given.id}: {outcome.problem}")
                        failed += 1
                        continue
                    out.write(write(given, outcome, answer.model))
                    compared.add(given, outcome)
                shown()
    compared.print()
    if failed:
        raise click.ClickException(f"{failed} of {count} lists could not be ranked")


def _refuse_repeated(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(f"--feature-weight {name} is given more than once")


def _keep_input(nbest: str, path: str) -> None:
    """Refuse to write over what is still to be read."""
    if STDIN not in (path, nbest) and Path(path).exists() and Path(path).samefile(nbest):
        raise click.UsageError(f"--output {path} is the n-best file itself")


def _line(given: NBestList, outcome: RescoredList, _: ModelIdentity) -> str:
    text = given.hypotheses[outcome.rankings[0].best].text
    return f"{_one_line(given.id)}\t{_one_line(text)}\n"


def _one_line(text: str) -> str:
    """JSON can have line ends and tabs in a text; a line of ours cannot."""
    return text.translate({ord(each): " " for each in "\t\n\r"})


def _json(given: NBestList, outcome: RescoredList, model: ModelIdentity) -> str:
    (ranking,) = outcome.rankings
    return json_line(
        {
            "id": given.id,
            "text": given.hypotheses[ranking.best].text,
            "order": ranking.order,
            "totals": ranking.totals,
            "log_probs": outcome.log_probs,
            "token_counts": outcome.token_counts,
            "oov_counts": outcome.oov_counts,
            **answered_by(model),
        }
    )


class Comparison:
    """Word error rates of the lists that have a reference."""

    def __init__(self) -> None:
        self._wer: WerComparison | None = None

    def add(self, given: NBestList, outcome: RescoredList) -> None:
        """Count a list."""
        if given.reference is None:
            return
        if self._wer is None:
            from lmscore.client.wer import WerComparison  # jiwer takes its time to import

            self._wer = WerComparison()
        self._wer.add(given, outcome.rankings[0].best)

    def print(self) -> None:
        """Write the rates to standard error, if there are any."""
        if self._wer is None:
            return
        table = Table("", box=None, pad_edge=False)
        for heading in ("WER", "errors", "words"):
            table.add_column(heading, justify="right")
        rows = {
            "as given": self._wer.before,
            "re-ranked": self._wer.after,
            "oracle": self._wer.oracle,
        }
        for name, errors in rows.items():
            rate = f"{errors.rate:.2%}" if errors.words else "-"  # no words, no rate
            table.add_row(name, rate, str(errors.errors), str(errors.words))
        click.echo(table_text(table), err=True, nl=False)
