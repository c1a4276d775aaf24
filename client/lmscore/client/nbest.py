"""N-best lists from files and to files, in any of the formats of FORMATS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lmscore.client.appending import AppendedFiles
from lmscore.client.nbest_formats.format import NBestFormat
from lmscore.client.nbest_formats.registry import FORMATS, recognized
from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import (
    SCORE,
    UnknownFormatError,
    UnwritableError,
    checked,
)
from lmscore.client.requests import NBestList
from lmscore.client.textfile import FileError, LineReader

__all__ = [
    "FORMATS",
    "SCORE",
    "NBestFormat",
    "Source",
    "UnknownFormatError",
    "UnwritableError",
    "lists_of",
    "read_nbest",
    "recognized",
    "write_nbest",
]


def read_nbest(
    source: str | Path | LineReader | Source,
    *,
    format: str | None = None,  # noqa: A002 (what the command calls it)
    beam_size: int | None = None,
) -> Iterator[NBestList]:
    """The lists of a file or folder, one at a time; "-" is standard input.

    Scores are made to be higher for better and in nats, where the format says which they are.
    Without ``format``, a name in FORMATS, it is told by what the file begins with. Raises
    FileError with file and line for what is wrong, UnknownFormatError for a format that is not
    known or not clear.
    """
    match source:
        case Source():
            opened = source
        case LineReader():
            opened = Source.of(source, beam_size)
        case _:
            opened = Source(str(source), beam_size)
    try:
        yield from lists_of(opened, FORMATS[format or recognized(opened)])
    finally:
        opened.close()


def lists_of(source: Source, known: NBestFormat) -> Iterator[NBestList]:
    """The lists of a source in that format; FileError if there are none."""
    lists = known.read(source)
    first = next(lists, None)
    if first is None:
        raise FileError(source.path, "there are no n-best lists in it")
    yield first
    yield from lists


def write_nbest(
    path: str | Path,
    lists: Iterable[NBestList],
    *,
    format: str = "jsonl",  # noqa: A002 (as above)
) -> int:
    """Write lists to a file, or to a folder in formats that are one; gives their number.

    Reading that again gives the same lists. Raises UnwritableError for what the format has no
    way to say: more features than it has room for, a number that is not finite, or a text with
    the marks of its columns.
    """
    known = FORMATS[format]
    count = 0
    names: list[str] = []
    with AppendedFiles(str(path), known.layout) as files:
        for nbest in lists:
            if count == 0 and nbest.hypotheses:
                names = list(nbest.hypotheses[0].features)
            files.append(known.render(count, _finite(nbest), names))
            count += 1
        files.append(known.end(count))
    return count


def _finite(nbest: NBestList) -> NBestList:
    """The list; UnwritableError for a feature that readers would refuse."""
    for hypothesis in nbest.hypotheses:
        for name, value in hypothesis.features.items():
            try:
                checked(value, f"list {nbest.id}, {name}")
            except ValueError as error:
                raise UnwritableError(str(error)) from None
    return nbest
