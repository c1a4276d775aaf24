"""mlm-scoring: one JSON object of utterances, `{"utt": {"ref": …, "hyp_1": {"score", "text"}}}`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from lmscore.client.nbest_formats.format import NBestFormat, Parts, Room, non_empty, only_score
from lmscore.client.nbest_formats.jsonl import encodable, refuse_constant
from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import SCORE, checked
from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.textfile import MAX_LINE_BYTES, FileError, LineReader

_UTTERANCE = re.compile(r'\s*\{\s*(?:\}|"(?:[^"\\]|\\.)*"\s*:\s*\{)')
_HYPOTHESIS_KEY = re.compile(r"hyp_\d+")
_BLANKS = re.compile(r"[ \t\n\r]*")


def _read(source: Source) -> Iterator[NBestList]:
    document = _Document(source.lines)
    document.skip("{")
    if document.skips("}"):
        return
    while True:
        name = document.value()
        line = document.line
        document.skip(":")
        try:
            yield _list(name, document.value())
        except ValueError as error:
            raise FileError(source.path, str(error), line=line) from error
        if not document.skips(","):
            break
    document.skip("}")
    document.end()


class _Document:
    """A JSON text of any size, of which one utterance at a time is in memory."""

    def __init__(self, lines: LineReader) -> None:
        self._path = lines.path
        self._pieces = lines.pieces()
        self._decoder = json.JSONDecoder(parse_constant=refuse_constant)
        self._text = ""
        self._place = 0  # in it, of what comes next
        self.line = 1  # of what comes next

    def skips(self, mark: str) -> bool:
        """Whether the mark comes next; then it is passed over."""
        if self._next() != mark:
            return False
        self._pass(self._place + 1)
        return True

    def skip(self, mark: str) -> None:
        """Pass over the mark; FileError if something else comes next."""
        if not self.skips(mark):
            found = self._next()
            raise self._error(f"expected {mark!r}, found {found!r}" if found else "it ends early")

    def value(self) -> Any:
        """The next value."""
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if len(self._text) - self._place > MAX_LINE_BYTES or not self._more():
                    raise self._error(f"not JSON: {error.msg}") from error
            except ValueError as error:  # a constant
                raise self._error(str(error)) from error
            except RecursionError as error:
                raise self._error("not JSON that can be read: nested too deeply") from error
            else:
                self._pass(end)
                return value

    def end(self) -> None:
        """FileError unless nothing follows."""
        if self._next():
            raise self._error("something follows the end of the object")

    def _next(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            found = _BLANKS.match(self._text, self._place)
            self._pass(found.end() if found else self._place)
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def _pass(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def _more(self) -> bool:
        """Make what is in memory longer, at least twice as long if a value did not fit."""
        left = self._text[self._place :]
        pieces = [left]
        wanted = max(len(left), 1)
        for piece in self._pieces:
            pieces.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                break
        self._text, self._place = "".join(pieces), 0
        return len(self._text) > len(left)

    def _error(self, problem: str) -> FileError:
        return FileError(self._path, problem, line=self.line)


def _list(name: Any, entry: Any) -> NBestList:
    """One utterance; ValueError says what is wrong with it."""
    if not isinstance(name, str):
        raise ValueError(f"{name} stands where an utterance's id should")
    if not isinstance(entry, dict):
        raise ValueError(f'utterance {name} must be an object with "ref" and "hyp_1"')
    reference = entry.get("ref")
    if not isinstance(reference, str | None):
        raise ValueError(f'utterance {name}: "ref" must be a string where it is given')
    hypotheses = tuple(
        _hypothesis(f"utterance {name}, {key}", each)
        for key, each in entry.items()
        if _HYPOTHESIS_KEY.fullmatch(key)
    )
    if not hypotheses:
        raise ValueError(f'utterance {name} has no "hyp_1"')
    return NBestList(encodable(name, "utterance"), hypotheses, reference)


def _hypothesis(place: str, entry: Any) -> Hypothesis:
    match entry:
        case {"score": int() | float() as score, "text": str(text)} if not isinstance(score, bool):
            return Hypothesis(encodable(text, place), {SCORE: checked(score, place)})
    raise ValueError(f'{place} must be {{"score": number, "text": string}}')


def _render(index: int, nbest: NBestList, _: Sequence[str]) -> Parts:
    only_score(non_empty(nbest), "mlm-scoring")
    record: dict[str, Any] = {} if nbest.reference is None else {"ref": nbest.reference}
    for i, hypothesis in enumerate(nbest.hypotheses, 1):
        record[f"hyp_{i}"] = {"score": hypothesis.features[SCORE], "text": hypothesis.text}
    entry = json.dumps(record, ensure_ascii=False, allow_nan=False)
    name = json.dumps(nbest.id, ensure_ascii=False)
    return {"": f"{',' if index else '{'}\n{name}: {entry}"}


def _end(count: int) -> Parts:
    return {"": "\n}\n" if count else "{}\n"}


def _recognizes(opening: str) -> bool:
    if _UTTERANCE.match(opening) is None:
        return False
    try:
        first = json.loads(opening.lstrip().split("\n", 1)[0])
    except (ValueError, RecursionError):
        return True
    return not (isinstance(first, dict) and "hyps" in first)  # JSON lines may say more of a list


FORMAT = NBestFormat(
    '{"utt": {"ref": …, "hyp_1": {"score": …, "text": …}, …}, …}',
    _read,
    _render,
    recognizes_file=_recognizes,
    end=_end,
    room=Room.ONE_SCORE,
)
