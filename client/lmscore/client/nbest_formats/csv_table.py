"""Comma-separated values (RFC 4180) whose first line names the columns: id, text and scores."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from lmscore.client.nbest_formats import tsv
from lmscore.client.nbest_formats.blocks import Row, blocks
from lmscore.client.nbest_formats.format import NBestFormat, Parts, non_empty
from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import UnwritableError, finite, line_text
from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.textfile import FileError, Line

_ID, _TEXT = "id", "text"


def _read(source: Source) -> Iterator[NBestList]:
    records = _records(source.path, source.lines)
    first = next(records, None)
    if first is None:
        return iter(())
    number, names = first
    _check_names(source.path, number, names)
    return blocks(_row(source.path, number, names, cells) for number, cells in records)


def _records(path: str, lines: Iterable[Line]) -> Iterator[tuple[int, list[str]]]:
    """Records that are not blank, each with its last line's number: texts may go over lines."""
    number = 0

    def numbered() -> Iterator[str]:
        nonlocal number
        for line in lines:
            number = line.number
            yield f"{line.text}\n"

    records = csv.reader(numbered(), strict=True)
    try:
        for cells in records:
            if cells:
                yield number, cells
    except csv.Error as error:
        raise FileError(path, f"not comma-separated values: {error}", line=number) from error


def _check_names(path: str, number: int, names: Sequence[str]) -> None:
    if not {_ID, _TEXT} <= set(names):
        problem = "the first line has to name the columns: id, text and those of scores"
        raise FileError(path, problem, line=number)
    for name in names:
        if not name or names.count(name) > 1:
            problem = f"column {name!r} has no name, or one that stands there twice"
            raise FileError(path, problem, line=number)


def _row(path: str, number: int, names: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(names):
        problem = f"{len(cells)} columns where the first line names {len(names)}"
        raise FileError(path, problem, line=number)
    named = dict(zip(names, cells, strict=True))
    name, text = named.pop(_ID), named.pop(_TEXT)
    try:
        features = {
            feature: finite(cell, f"column {feature}")
            for feature, cell in named.items()
            if feature not in tsv.DERIVED
        }
    except ValueError as error:
        raise FileError(path, str(error), line=number) from error
    return Row(path, number, name, Hypothesis(text, features))


def _render(index: int, nbest: NBestList, names: Sequence[str]) -> Parts:
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if index == 0:
        writer.writerow([_ID, *map(_feature, names), _TEXT])
    name = line_text(nbest.id, "id")
    for each in non_empty(nbest).hypotheses:
        writer.writerow([name, *tsv.values(each, names, name), line_text(each.text, "text")])
    return {"": out.getvalue()}


def _feature(name: str) -> str:
    if not name or line_text(name, "feature") in {_ID, _TEXT, *tsv.DERIVED}:
        raise UnwritableError(f"a table cannot have a feature named {name!r}")
    return name


def _recognizes(opening: str) -> bool:
    first = opening.split("\n", 1)[0].rstrip("\r")
    try:
        cells = next(csv.reader([first], strict=True), [])
    except csv.Error:
        return False
    return len(cells) > 1 and {_ID, _TEXT} <= set(cells)


FORMAT = NBestFormat(
    "commas for the TABs, after a first line id,score,text", _read, _render, _recognizes
)
