"""Reads n-best lists from files. A format is a row of FORMATS: how to know it, how to read it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, NoReturn

from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.textfile import FileError, Line, LineReader

SCORE = "score"
"""Name of the feature that every format gives: the score the list came with; higher is better."""


class UnknownFormatError(FileError):
    """A file is in none of the known formats."""


@dataclass(frozen=True, slots=True)
class NBestFormat:
    """An n-best format."""

    line: str  # what a line looks like
    recognizes: Callable[[str], bool]  # whether a file's first line can be of it
    read: Callable[[str, Iterator[Line]], Iterator[NBestList]]  # path for errors, and the lines


def read_nbest(lines: LineReader) -> Iterator[NBestList]:
    """The lists of a file, one at a time; blank lines are passed over.

    Raises FileError with the line for what is wrong, UnknownFormatError for an unknown format.
    """
    path = lines.path
    content = (line for line in lines if line.text and not line.text.isspace())
    first = next(content, None)
    if first is None:
        raise FileError(path, "there are no n-best lists in it")
    for known in FORMATS.values():
        if known.recognizes(first.text):
            yield from known.read(path, chain([first], content))
            return
    expected = "; ".join(f"{name}: {known.line}" for name, known in FORMATS.items())
    raise UnknownFormatError(path, f"not a known n-best format ({expected})", line=first.number)


def _read_json_lines(path: str, lines: Iterable[Line]) -> Iterator[NBestList]:
    for line in lines:
        try:
            yield _list_from_json(line.text)
        except ValueError as error:
            raise FileError(path, str(error), line=line.number) from error


def _list_from_json(text: str) -> NBestList:
    """One line's list; ValueError says what is wrong with it."""
    try:
        entry = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("not JSON that can be read: nested too deeply") from error
    if not isinstance(entry, dict):
        raise ValueError("not a JSON object")
    name, reference, hypotheses = entry.get("id"), entry.get("ref"), entry.get("hyps")
    if not isinstance(name, str):
        raise ValueError('"id" must be a string')
    if not isinstance(reference, str | None):
        raise ValueError('"ref" must be a string where it is given')
    if not isinstance(hypotheses, list) or not hypotheses:
        raise ValueError('"hyps" must be a list of at least one [text, score]')
    return NBestList(
        _encodable(name, '"id"'),
        tuple(_hypothesis_from_json(i, each) for i, each in enumerate(hypotheses)),
        reference,
    )


def _hypothesis_from_json(index: int, entry: Any) -> Hypothesis:
    match entry:
        case [str(text), int() | float() as score] if not isinstance(score, bool):
            value = _finite(score, f'"hyps"[{index}]')
            return Hypothesis(_encodable(text, f'"hyps"[{index}]'), {SCORE: value})
    raise ValueError(f'"hyps"[{index}] must be [text, score]')


def _encodable(text: str, place: str) -> str:
    """ValueError for half a surrogate pair, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{place}: character {error.start} is half a surrogate pair") from error
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a finite score")


def _read_tsv(path: str, lines: Iterable[Line]) -> Iterator[NBestList]:
    """Lists are contiguous blocks of lines with one id."""
    begun: set[str] = set()
    rows = (_row(path, line) for line in lines)
    for name, block in groupby(rows, key=lambda row: row.name):
        first = next(block)
        if name in begun:
            problem = f"list {name} goes on here, but other lists stand in between"
            raise FileError(path, problem, line=first.line)
        begun.add(name)
        yield NBestList(name, tuple(row.hypothesis for row in chain([first], block)))


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    name: str
    hypothesis: Hypothesis


def _row(path: str, line: Line) -> _Row:
    try:
        name, score, text = line.text.split("\t", 2)
    except ValueError as error:
        problem = f"expected {FORMATS['tsv'].line}"
        raise FileError(path, problem, line=line.number) from error
    try:
        value = _finite(float(score), "the score")
    except ValueError as error:
        problem = f"{score!r} is not a finite score"
        raise FileError(path, problem, line=line.number) from error
    return _Row(line.number, name, Hypothesis(text, {SCORE: value}))


def _finite(score: float, place: str) -> float:
    """ValueError for NaN, an infinity, or an integer too large for a float."""
    try:
        value = float(score)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{place}: {value} is not a finite score")
    return value


def _looks_like_tsv(line: str) -> bool:
    """Whether the second of at least three columns is a number, or wants to be one."""
    columns = line.split("\t", 2)
    if len(columns) < 3:
        return False
    try:
        float(columns[1])
    except ValueError:
        return False
    return True


FORMATS: dict[str, NBestFormat] = {
    "jsonl": NBestFormat(
        '{"id": …, "ref": … (optional), "hyps": [[text, score], …]}',
        lambda line: line.lstrip().startswith("{"),
        _read_json_lines,
    ),
    "tsv": NBestFormat("id TAB score TAB text", _looks_like_tsv, _read_tsv),
}
