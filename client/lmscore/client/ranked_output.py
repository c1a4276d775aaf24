"""What can be written of ranked lists: a table of outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lmscore.client.combination import log_probs
from lmscore.client.nbest_formats import tsv
from lmscore.client.nbest_formats.format import Layout, NBestFormat, Parts, Room
from lmscore.client.nbest_formats.registry import FORMATS
from lmscore.client.nbest_formats.values import LM, SCORE, UnwritableError, one_line
from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.rescoring import Outcome, RankedList, UnrankedList

IMPOSSIBLE = -1e30
"""Written for a log-probability of -inf, which the formats have no number for."""

RenderRanked = Callable[[int, RankedList, Sequence[str]], Parts]
"""Writes a list, given its number from 0 and the names of the features of list 0."""


def _nothing(_: UnrankedList) -> Parts:
    return {}


def _no_end(_: int) -> Parts:
    return {}


@dataclass(frozen=True, slots=True)
class RankedOutput:
    """One way to write ranked lists."""

    render: RenderRanked
    unranked: Callable[[UnrankedList], Parts] = _nothing
    end: Callable[[int], Parts] = _no_end
    layout: Layout = Layout.FILE
    adds_features: bool = False  # one a model, by its name
    one_model: bool = False  # what it has room for


def outcome_parts(
    output: RankedOutput, index: int, outcome: Outcome, names: Sequence[str]
) -> Parts:
    """What to write of a list."""
    if isinstance(outcome, UnrankedList):
        return output.unranked(outcome)
    return output.render(index, outcome, names)


def output_named(name: str, known: NBestFormat, features: Mapping[str, float]) -> RankedOutput:
    """The output of that name for lists of a format that have these features."""
    return OUTPUTS[name] if name in OUTPUTS else _same(known, features)


def _best(_: int, ranked: RankedList, __: Sequence[str]) -> Parts:
    return {"": f"{one_line(ranked.given.id)}\t{one_line(ranked.best.text)}\n"}


def _line(_: int, ranked: RankedList, __: Sequence[str]) -> Parts:
    return {"": f"{one_line(ranked.best.text)}\n"}


def _empty_line(_: UnrankedList) -> Parts:
    return {"": "\n"}  # or every line that follows would be another segment's


def _trn(_: int, ranked: RankedList, __: Sequence[str]) -> Parts:
    text = one_line(ranked.best.text)
    return {"": f"{text}{' ' if text else ''}({one_line(ranked.given.id)})\n"}


def _kaldi_text(_: int, ranked: RankedList, __: Sequence[str]) -> Parts:
    return {"": f"{one_line(ranked.given.id)} {one_line(ranked.best.text)}\n"}


def _table(index: int, ranked: RankedList, names: Sequence[str]) -> Parts:
    with_features = with_log_probs(ranked)
    name = one_line(ranked.given.id)
    rows = []
    for rank, i in enumerate(ranked.ranking.order, 1):
        hypothesis = with_features.hypotheses[i]
        total = repr(_sayable(ranked.ranking.totals[i]))
        values = tsv.values(hypothesis, names, name)
        rows.append("\t".join([name, str(rank), total, *values, one_line(hypothesis.text)]) + "\n")
    tsv.header(names)  # refuses what cannot be a column
    header = "\t".join(["id", *tsv.DERIVED, *names, "text"]) + "\n"
    return {"": (header if index == 0 else "") + "".join(rows)}


def _json_lines(index: int, ranked: RankedList, names: Sequence[str]) -> Parts:
    return FORMATS["jsonl"].render(index, with_log_probs(ranked), names)


def with_log_probs(ranked: RankedList) -> NBestList:
    """The list with a feature more for each model; UnwritableError if it has one of that name."""
    hypotheses = []
    for i, hypothesis in enumerate(ranked.given.hypotheses):
        added = {name: _sayable(value) for name, value in log_probs(ranked.answers, i).items()}
        if taken := added.keys() & hypothesis.features.keys():
            raise UnwritableError(
                f"list {ranked.given.id} has a feature {min(taken)} already, "
                "which the one of the model of that name would replace"
            )
        hypotheses.append(replace(hypothesis, features={**hypothesis.features, **added}))
    return replace(ranked.given, hypotheses=tuple(hypotheses))


def with_total_as_score(ranked: RankedList) -> NBestList:
    """The list from its best hypothesis to its worst, with the totals as scores."""
    hypotheses = tuple(
        replace(ranked.given.hypotheses[i], features={SCORE: _sayable(ranked.ranking.totals[i])})
        for i in ranked.ranking.order
    )
    return replace(ranked.given, hypotheses=hypotheses)


def with_lm_replaced(ranked: RankedList) -> NBestList:
    """The list with the model's log-probability in place of the language model's."""
    (answer,) = ranked.answers.values()
    hypotheses = tuple(
        Hypothesis(each.text, {**each.features, LM: _sayable(log_prob)}, each.columns)
        for each, log_prob in zip(ranked.given.hypotheses, answer.log_probs, strict=True)
    )
    return replace(ranked.given, hypotheses=hypotheses)


def _sayable(value: float) -> float:
    return value if math.isfinite(value) else math.copysign(IMPOSSIBLE, value)


def _same(known: NBestFormat, features: Mapping[str, float]) -> RankedOutput:
    """The lists in the format that they came in."""
    match known.room:
        case Room.ACOUSTIC_AND_LM:
            convert = with_lm_replaced
        case Room.ONE_SCORE if features.keys() == {SCORE}:
            convert = with_total_as_score
        case _:
            convert = with_log_probs

    def render(index: int, ranked: RankedList, names: Sequence[str]) -> Parts:
        return known.render(index, convert(ranked), names)

    return RankedOutput(
        render,
        end=known.end,
        layout=known.layout,
        adds_features=convert is with_log_probs,
        one_model=convert is with_lm_replaced,
    )


OUTPUTS: dict[str, RankedOutput] = {
    "best": RankedOutput(_best),
    "lines": RankedOutput(_line, unranked=_empty_line),
    "trn": RankedOutput(_trn),
    "kaldi": RankedOutput(_kaldi_text),
    "tsv": RankedOutput(_table, adds_features=True),
    "jsonl": RankedOutput(_json_lines, adds_features=True),
}
SAME = "same"
