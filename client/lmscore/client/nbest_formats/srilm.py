"""SRILM: `acoustic lm nwords word …`, in log10; a file a list, which is named like it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmscore.client.nbest_formats.format import Layout, NBestFormat, Parts, Room, non_empty
from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import (
    ACOUSTIC,
    LM,
    UnwritableError,
    finite,
    line_text,
    words,
)
from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.textfile import STDIN, FileError, Line, LineReader

_SHAPE = "acoustic-score lm-score number-of-words word …"
_NATS = math.log(10)
_PACKED = (".gz", ".bz2", ".xz")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf"
_ROW = re.compile(r"\s*(\S+)\s+(\S+)\s+(\d+)(?:\s(.*))?", re.DOTALL)
_OPENING = re.compile(rf"\s*(?:{_NUMBER})\s+(?:{_NUMBER})\s+\d+(?:\s|$)")


def _read(source: Source) -> Iterator[NBestList]:
    if not source.is_folder:
        yield _list(source.lines)
        return
    for path in _files(source.path):
        yield _list(source.reader(str(path)))


def _files(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).iterdir() if path.is_file() and path.name[0] != ".")


def _list(lines: LineReader) -> NBestList:
    name = "stdin" if lines.path == STDIN else Path(lines.path).name
    for suffix in _PACKED:
        name = name.removesuffix(suffix)
    hypotheses = tuple(
        _hypothesis(lines.path, line) for line in lines if line.text and not line.text.isspace()
    )
    if not hypotheses:
        raise FileError(lines.path, "there are no hypotheses in it")
    return NBestList(name, hypotheses)


def _hypothesis(path: str, line: Line) -> Hypothesis:
    row = _ROW.fullmatch(line.text)
    if row is None:
        problem = f"expected {_SHAPE}"
        if line.text.startswith("NBestList"):
            problem += "; make such lists of others with SRILM's nbest-rescore tools"
        raise FileError(path, problem, line=line.number)
    text = row[4] or ""
    try:
        features = {
            ACOUSTIC: finite(row[1], "the acoustic score") * _NATS,
            LM: finite(row[2], "the LM score") * _NATS,
        }
    except ValueError as error:
        raise FileError(path, str(error), line=line.number) from error
    # Pauses and the like may not count as words.
    told = (row[3],) if row[3] != str(len(words(text))) else ()
    return Hypothesis(text, features, told)


def _render(_: int, nbest: NBestList, __: Sequence[str]) -> Parts:
    name = nbest.id
    if not name or "/" in name or name.startswith(".") or name.endswith(_PACKED) or "\0" in name:
        raise UnwritableError(f"list {name!r} cannot be a file of that name")
    return {name: "".join(_line(name, each) for each in non_empty(nbest).hypotheses)}


def _line(name: str, hypothesis: Hypothesis) -> str:
    if hypothesis.features.keys() != {ACOUSTIC, LM}:
        raise UnwritableError(
            f"list {name}: SRILM has room for the features {ACOUSTIC} and {LM}, "
            f"not for {sorted(hypothesis.features)}"
        )
    scores = (hypothesis.features[each] / _NATS for each in (ACOUSTIC, LM))
    count = hypothesis.columns[0] if hypothesis.columns else str(len(words(hypothesis.text)))
    return f"{' '.join(map(repr, scores))} {count} {line_text(hypothesis.text, 'text')}\n"


def _recognizes_folder(source: Source) -> bool:
    if not source.is_folder:
        return False
    first = next(iter(_files(source.path)), None)
    if first is None:
        return False
    reader = LineReader(str(first))
    try:
        return _recognizes(reader.opening())
    finally:
        reader.close()


def _recognizes(opening: str) -> bool:
    return "\t" not in opening.split("\n", 1)[0] and _OPENING.match(opening) is not None


FORMAT = NBestFormat(
    f"{_SHAPE}, in log10, a file a list",
    _read,
    _render,
    recognizes_file=_recognizes,
    recognizes_folder=_recognizes_folder,
    room=Room.ACOUSTIC_AND_LM,
    layout=Layout.FILE_A_LIST,
)
