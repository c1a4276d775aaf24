"""NeMo: `text TAB score`, the same number of rows for every utterance, and no ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from lmscore.client.nbest_formats.format import NBestFormat, Parts, Room, non_empty, only_score
from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import (
    SCORE,
    UnknownFormatError,
    finite,
    line_text,
)
from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.textfile import FileError, Line

NEEDS_BEAM_SIZE = (
    "rows of `text TAB score` do not say where a list ends: "
    "say how many rows each has with --beam-size N"
)


def _read(source: Source) -> Iterator[NBestList]:
    """Lists named by their number, from 0."""
    if source.beam_size is None:
        raise UnknownFormatError(source.path, NEEDS_BEAM_SIZE)
    lines = (line for line in source.lines if line.text and not line.text.isspace())
    number = 0
    while rows := list(islice(lines, source.beam_size)):
        if len(rows) < source.beam_size:
            problem = f"the last list has {len(rows)} rows instead of {source.beam_size}"
            raise FileError(source.path, problem, line=rows[-1].number)
        yield NBestList(str(number), tuple(_hypothesis(source.path, row) for row in rows))
        number += 1


def _hypothesis(path: str, line: Line) -> Hypothesis:
    text, tab, score = line.text.rpartition("\t")
    if not tab:
        raise FileError(path, "expected text TAB score", line=line.number)
    try:
        return Hypothesis(text, {SCORE: finite(score)})
    except ValueError as error:
        raise FileError(path, str(error), line=line.number) from error


def _render(_: int, nbest: NBestList, __: Sequence[str]) -> Parts:
    only_score(non_empty(nbest), "NeMo's format")
    return {
        "": "".join(
            f"{line_text(each.text, 'text')}\t{each.features[SCORE]!r}\n"
            for each in nbest.hypotheses
        )
    }


FORMAT = NBestFormat(
    "text TAB score, with --beam-size rows a list", _read, _render, room=Room.ONE_SCORE
)
