"""Tables: `id TAB score TAB text`, or columns that a first line names, from "id" to "text"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from lmscore.client.nbest_formats.blocks import Row, blocks
from lmscore.client.nbest_formats.format import NBestFormat, Parts, Room, non_empty
from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import (
    SCORE,
    UnwritableError,
    finite,
    is_number,
    line_text,
)
from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.textfile import FileError, Line

DERIVED = ("rank", "total")
"""Columns that say how a list was ranked, which are no features."""


def _read(source: Source) -> Iterator[NBestList]:
    lines = (line for line in source.lines if line.text and not line.text.isspace())
    first = next(lines, None)
    if first is None:
        return iter(())
    if has_header(first.text):
        names = _feature_columns(source.path, first)
        return blocks(_row(source.path, line, names) for line in lines)
    return blocks(_row(source.path, line, [SCORE]) for line in _with(first, lines))


def _with(first: Line, rest: Iterable[Line]) -> Iterable[Line]:
    return chain([first], rest)


def has_header(line: str) -> bool:
    """Whether a line names columns."""
    cells = line.split("\t")
    return len(cells) > 1 and cells[0] == "id" and cells[-1] == "text"


def _feature_columns(path: str, header: Line) -> list[str]:
    names = header.text.split("\t")[1:-1]
    for name in names:
        if not name or names.count(name) > 1:
            problem = f"column {name!r} has no name, or one that stands there twice"
            raise FileError(path, problem, line=header.number)
    return names


def _row(path: str, line: Line, names: Sequence[str]) -> Row:
    cells = line.text.split("\t", len(names) + 1)
    if len(cells) < len(names) + 2:
        problem = f"expected {' TAB '.join(['id', *names, 'text'])}"
        raise FileError(path, problem, line=line.number)
    try:
        features = {
            name: finite(cell, name if name != SCORE else "the score")
            for name, cell in zip(names, cells[1:-1], strict=True)
            if name not in DERIVED
        }
    except ValueError as error:
        raise FileError(path, str(error), line=line.number) from error
    return Row(path, line.number, cells[0], Hypothesis(cells[-1], features))


def header(names: Sequence[str]) -> str:
    """The first line; UnwritableError for names that it cannot hold."""
    for name in names:
        if not name or "\t" in line_text(name, "feature") or name in {"id", "text", *DERIVED}:
            raise UnwritableError(f"a table cannot have a feature named {name!r}")
    return "\t".join(["id", *names, "text"]) + "\n"


def values(hypothesis: Hypothesis, names: Sequence[str], list_id: str) -> list[str]:
    """The features of a row; UnwritableError for others than those that the table has."""
    if set(names) != set(hypothesis.features):
        raise UnwritableError(
            f"list {list_id} has the features {sorted(hypothesis.features)}, "
            f"the table {sorted(names)}: JSON lines can hold both"
        )
    return [repr(hypothesis.features[name]) for name in names]


def _render(index: int, nbest: NBestList, names: Sequence[str]) -> Parts:
    plain = list(names) == [SCORE]
    name = line_text(nbest.id, "id")
    if "\t" in name:
        raise UnwritableError(f"id {name!r} has a tab, which a table cannot hold")
    rows = [
        "\t".join([name, *values(each, names, name), line_text(each.text, "text")]) + "\n"
        for each in non_empty(nbest).hypotheses
    ]
    return {"": (header(names) if index == 0 and not plain else "") + "".join(rows)}


def _recognizes(opening: str) -> bool:
    first = opening.split("\n", 1)[0]
    cells = first.split("\t")
    return has_header(first.rstrip("\r")) or (len(cells) > 2 and is_number(cells[1]))


FORMAT = NBestFormat(
    "id TAB score TAB text", _read, _render, recognizes_file=_recognizes, room=Room.ONE_SCORE
)
