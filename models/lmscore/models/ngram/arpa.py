"""Reading ARPA files: log10 probabilities and back-offs as text, sections by n-gram length.

What KenLM and what SRILM accept is accepted; where only the lenient one would go on, or where
something is given up, a ModelFormatWarning says so. Separators within a row are KenLM's
(lmscore.models.ngram.words).
"""

from __future__ import annotations

import functools
import re
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compression import damage_reported, decompressed, open_model_file
from lmscore.models.errors import ModelFormatError, ModelFormatWarning
from lmscore.models.kenlm.header import MAGIC as KENLM_MAGIC
from lmscore.models.ngram import arpa_rows
from lmscore.models.ngram.arpa_rows import Cursor, Rows, exact_float32, parse_rows
from lmscore.models.ngram.file import MAGIC as NGRAM_MAGIC
from lmscore.models.ngram.line_reader import BLANKS, LineReader, Progress
from lmscore.models.ngram.table import NgramTable, OrderTable
from lmscore.models.ngram.words import WordTable, build_word_table, pool_words
from lmscore.models.vocabulary import BOS, EOS, UNK

FLOOR_LOG10_PROB = np.float32(-100)  # of <unk> where a file has none, as in KenLM
ABSENT_BOS_LOG10_PROB = np.float32(-99)  # what SRILM writes for <s>, which is never an event
MAX_ORDER = 100
_BOS, _EOS, _UNK = BOS.encode(), EOS.encode(), UNK.encode()
_COUNT_LINE = re.compile(rb"ngram\s+(\d{1,4})\s*=\s*(\d{1,18})\s*")
_HTML = "HTML or XML, not a language model; was an error page downloaded?"
_HTML_LINE = re.compile(rb"<(!doctype\s+)?html\b", re.IGNORECASE)
_REFUSED = {
    b"iARPA": "an IRSTLM iARPA file; make it ARPA with: compile-lm --text yes IN OUT",
    b"blmt": "an IRSTLM binary file; make it ARPA with: compile-lm --text yes IN OUT",
    b"Qblmt": "a quantized IRSTLM binary file; make it ARPA with: compile-lm --text yes IN OUT",
    b"PK\3\4": "a zip archive, perhaps a PyTorch checkpoint; if it holds an ARPA file, unpack it",
    b"\xff\xfe": "UTF-16 text; make it UTF-8 with: iconv -f UTF-16 -t UTF-8 IN > OUT",
    b"\xfe\xff": "UTF-16 text; make it UTF-8 with: iconv -f UTF-16 -t UTF-8 IN > OUT",
    KENLM_MAGIC: "a compressed KenLM binary; decompress it, so that it can be mapped",
    NGRAM_MAGIC.strip(): "a compressed .ngram file; decompress it, so that it can be mapped",
    b"<": _HTML,
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@functools.cache  # made at the first file: it runs compiled code, which takes long to load
def _no_words() -> WordTable:
    return build_word_table(*pool_words([]), np.empty(0, np.uint32), 0)


def read_arpa(path: Path, progress: Progress | None = None) -> NgramTable:
    """The n-grams of an ARPA file, plain or compressed by gzip, bzip2 or xz.

    Missing words are added: ``<unk>`` with log10 probability -100 (has_unknown is then False),
    ``</s>`` with the probability of ``<unk>``, as KenLM would score it, and ``<s>``; the last two
    with a warning. -99 is kept as it is, so that scores equal KenLM's. Of a repeated word the first
    unigram counts, of ``<unk>`` the last, with a warning, as in KenLM; repeated longer n-grams are
    left to first_of_each.
    Raises ModelFormatError, which names the line, and ModelNotFoundError.
    """
    with open_model_file(path) as raw:
        lines = LineReader(path, raw, progress)
        with damage_reported(path, lambda: lines.line):
            return _read_table(lines)


def first_of_each(path: Path, table: NgramTable, order: int) -> NgramTable:
    """The table of a file without the n-grams of a length that repeat earlier ones, as in KenLM.

    A warning names the first that is left out.
    """
    level = table.orders[order - 1]
    kept = np.sort(np.unique(level.ids, axis=0, return_index=True)[1])
    dropped = np.setdiff1d(np.arange(len(level)), kept)
    ngram = b" ".join(table.words[word] for word in level.ids[dropped[0]].tolist())
    _warn_of_repeats(path, order, ngram, dropped.tolist(), "first")
    orders = [*table.orders]
    orders[order - 1] = OrderTable(
        level.ids[kept], level.log10_probs[kept], level.log10_backoffs[kept]
    )
    return NgramTable(table.words, orders, table.has_unknown)


def line_of_entry(path: Path, order: int, row: int) -> int:
    """The line, from 1, of the row-th n-gram of a length in an ARPA file that has been read."""
    with open_model_file(path) as raw, decompressed(raw) as file:
        header = b"\\%d-grams:" % order
        rows_seen = -1
        for number, line in enumerate(file, 1):
            if rows_seen >= 0 and line.strip(b"\0\t\r\n "):
                if rows_seen == row:
                    return number
                rows_seen += 1
            elif line.strip() == header:
                rows_seen = 0
    raise AssertionError(f"{path} has changed")


def _read_table(lines: LineReader) -> NgramTable:
    _find_data(lines)
    counts, line = _read_counts(lines)
    _expect_section(lines, line, 1)
    unigrams = _Section(lines, 1, counts)
    line = unigrams.read(_no_words())
    words, first_order = _without_repeats(lines.path, unigrams.words(), unigrams.table())
    table = _word_table(words)
    words, first_order, has_unknown = _completed(lines, words, first_order)
    orders = [first_order]
    for order in range(2, len(counts) + 1):
        _expect_section(lines, line, order)
        section = _Section(lines, order, counts)
        line = section.read(table)
        orders.append(section.table())
    if line != b"\\end\\":
        lines.fail(f"expected \\end\\, found {_shown(line)}")
    if (line := lines.next_text_line()) is not None:
        lines.warn(f"ignored {_shown(line)} and what follows after \\end\\")
    while len(orders) > 1 and not len(orders[-1]):
        orders.pop()
    return NgramTable(words, orders, has_unknown)


def _find_data(lines: LineReader) -> None:
    first = line = _first_text_line(lines)
    ignored = None
    while line != b"\\data\\":
        if line is None:
            raise ModelFormatError(lines.path, _without_data(first))
        if _HTML_LINE.match(line):  # behind the headers of HTTP, say
            lines.fail(_HTML)
        if ignored is None and not line.startswith(b"#"):
            ignored = f"{lines.line - 1}: ignored {_shown(line)} before \\data\\"
        line = lines.next_text_line()
    if ignored is not None:
        warnings.warn(f"{lines.path}:{ignored}", ModelFormatWarning, stacklevel=2)


def _first_text_line(lines: LineReader) -> bytes | None:
    """The first line without a byte order mark, unless it tells that the file is something else."""
    line = lines.next_text_line()
    if line is not None and line.startswith(_BYTE_ORDER_MARK):
        lines.warn("ignored a byte order mark, which no reader of ARPA files expects")
        line = line.removeprefix(_BYTE_ORDER_MARK).strip(BLANKS) or lines.next_text_line()
    if line is not None:
        for start, name in _REFUSED.items():
            if line.startswith(start):
                lines.fail(name)
    return line


def _without_data(first: bytes | None) -> str:
    if first is None:
        return "an empty file"
    if first.startswith(b"HTTP/"):
        return "what a web server answered, not an ARPA file: no line says \\data\\"
    return "not an ARPA file: no line says \\data\\"


def _read_counts(lines: LineReader) -> tuple[list[int], bytes | None]:
    """How many n-grams of each length the header announces, and the line after it."""
    counts: list[int] = []
    while (line := lines.next_text_line()) is not None and not line.startswith(b"\\"):
        match = _COUNT_LINE.fullmatch(line)
        if match is None:
            lines.fail(f"expected ngram N=COUNT, found {_shown(line)}")
        if int(match[1]) != len(counts) + 1 or len(counts) == MAX_ORDER:
            lines.fail(
                f"expected the count of {len(counts) + 1}-grams (at most {MAX_ORDER}-grams), "
                f"found {_shown(line)}"
            )
        counts.append(int(match[2]))
    if not counts:
        lines.fail("no counts after \\data\\")
    return counts, line


def _expect_section(lines: LineReader, line: bytes | None, order: int) -> None:
    if line != b"\\%d-grams:" % order:
        lines.fail(f"expected \\{order}-grams:, found {_shown(line)}")


def _without_repeats(
    path: Path, words: list[bytes], unigrams: OrderTable
) -> tuple[list[bytes], OrderTable]:
    """Words and unigrams, whose ids are yet to come, with one for each word: KenLM's choice."""
    if len(set(words)) == len(words):
        return words, unigrams
    rows = {word: row for row, word in reversed([*enumerate(words)])}
    if _UNK in rows:
        rows[_UNK] = len(words) - 1 - words[::-1].index(_UNK)
    kept = sorted(rows.values())
    dropped = sorted({*range(len(words))} - {*kept})
    first = words[dropped[0]]
    _warn_of_repeats(path, 1, first, dropped, "last" if first == _UNK else "first")
    probs, backoffs = unigrams.log10_probs[kept], unigrams.log10_backoffs[kept]
    return [words[row] for row in kept], OrderTable(unigrams.ids, probs, backoffs)


def _warn_of_repeats(path: Path, order: int, ngram: bytes, dropped: list[int], counts: str) -> None:
    others = f", and {len(dropped) - 1} more" if len(dropped) > 1 else ""
    warnings.warn(
        f"{path}:{line_of_entry(path, order, dropped[0])}: ignored the {order}-gram "
        f"{_shown(ngram)}, which the file repeats: the {counts} one counts{others}",
        ModelFormatWarning,
        stacklevel=2,
    )


def _word_table(words: list[bytes]) -> WordTable:
    """The table for the words of longer n-grams; both spellings of ``<unk>`` find it."""
    keys = words
    ids = np.arange(len(words), dtype=np.uint32)
    if _UNK in words:
        keys = [*words, b"<UNK>"]
        ids = np.append(ids, np.uint32(words.index(_UNK)))
    return build_word_table(*pool_words(keys), ids, len(words))


def _completed(
    lines: LineReader, words: list[bytes], unigrams: OrderTable
) -> tuple[list[bytes], OrderTable, bool]:
    """Words and unigrams with those that the file lacks; and whether it had ``<unk>``."""
    unknown = unigrams.log10_probs[words.index(_UNK)] if _UNK in words else FLOOR_LOG10_PROB
    added: list[tuple[bytes, np.float32]] = []
    if _UNK not in words:
        added.append((_UNK, unknown))
    if _EOS not in words:
        added.append((_EOS, unknown))
        lines.warn(f"no {EOS} among the unigrams: it gets the probability of {UNK}")
    if _BOS not in words:
        added.append((_BOS, ABSENT_BOS_LOG10_PROB))
        lines.warn(f"no {BOS} among the unigrams: texts begin without context")
    completed = [*words, *(word for word, _ in added)]
    return (
        completed,
        OrderTable(
            np.arange(len(completed), dtype=np.uint32)[:, None],
            np.append(unigrams.log10_probs, np.array([p for _, p in added], np.float32)),
            np.append(unigrams.log10_backoffs, np.zeros(len(added), np.float32)),
        ),
        _UNK in words,
    )


class _Section:
    """The n-grams of one length, while they are being read."""

    def __init__(self, lines: LineReader, order: int, counts: list[int]) -> None:
        self._lines = lines
        self._order = order
        self._top = order == len(counts)
        self._count = counts[order - 1]
        # A count is believed as far as the file can hold so many rows; the arrays grow where not.
        room = 1 << 20 if lines.compressed else lines.size // (2 * order)
        room = max(min(self._count, room), 1)
        self._rows = Rows(
            np.empty((room if order > 1 else 0, order), np.uint32),
            np.empty(room, np.float32),
            np.empty(room, np.float32),
            np.empty(1, np.uint8),
            np.zeros(room + 1, np.int64),
            np.empty((1024, 5), np.int64),
        )
        self._cursor = Cursor.at(lines.position, lines.line)

    def read(self, table: WordTable) -> bytes | None:
        """Read all rows; the line after them, or None at the end of the file."""
        lines, cursor = self._lines, self._cursor
        while True:
            if self._order == 1:
                self._make_room_for_words()
            reason = parse_rows(
                lines.block, lines.end, self._order, self._top, table, self._rows, cursor
            )
            lines.position, lines.line = int(cursor.position[0]), int(cursor.line[0])
            self._read_odd_numbers()
            if reason == arpa_rows.BLOCK_DONE and lines.refill():
                cursor.position[0] = lines.position
            elif reason == arpa_rows.ARRAYS_FULL:
                self._make_room_for_rows()
            elif reason in {arpa_rows.BLOCK_DONE, arpa_rows.SECTION_DONE}:
                break
            else:
                self._fail(reason)
        return self._checked_end()

    def table(self) -> OrderTable:
        """What was read."""
        read = slice(self._cursor.row[0])
        return OrderTable(
            self._rows.ids[read], self._rows.log10_probs[read], self._rows.log10_backoffs[read]
        )

    def words(self) -> list[bytes]:
        """The words of unigrams, in order; ``<UNK>`` is spelled ``<unk>``."""
        pool = self._rows.pool.tobytes()
        bounds = self._rows.offsets[: self._cursor.row[0] + 1].tolist()
        words = [pool[begin:end] for begin, end in pairwise(bounds)]
        return [_UNK if word == b"<UNK>" else word for word in words]

    def _checked_end(self) -> bytes | None:
        line = self._lines.next_text_line()
        if line is None:
            self._lines.fail("the file ends within the n-grams: it is truncated")
        if self._cursor.row[0] != self._count:
            self._lines.warn(
                f"the header announces {self._count} {self._order}-grams, "
                f"the file has {self._cursor.row[0]}"
            )
        if self._cursor.ignored_backoffs[0]:
            self._lines.warn(
                f"ignored the back-offs of {self._cursor.ignored_backoffs[0]} {self._order}-grams, "
                "which no longer n-gram continues"
            )
        return line

    def _make_room_for_words(self) -> None:
        needed = self._cursor.pool_size[0] + self._lines.end - self._lines.position
        if needed > self._rows.pool.size:
            larger = np.empty(2 * needed, np.uint8)
            larger[: self._rows.pool.size] = self._rows.pool
            self._rows = self._rows._replace(pool=larger)

    def _make_room_for_rows(self) -> None:
        rows = self._rows
        if self._cursor.row[0] == len(rows.log10_probs):
            self._rows = rows._replace(
                ids=_doubled(rows.ids),
                log10_probs=_doubled(rows.log10_probs),
                log10_backoffs=_doubled(rows.log10_backoffs),
                offsets=_doubled(rows.offsets),
            )

    def _read_odd_numbers(self) -> None:
        """Read the numbers that parse_rows left, which may be none at all."""
        for row, column, begin, end, line in self._rows.odd[: self._cursor.odd_count[0]].tolist():
            text = self._lines.block[begin:end].tobytes()
            try:
                number = exact_float32(text)
            except (ValueError, OverflowError):
                number = np.float32(np.nan)
            if np.isnan(number) or (column == 1 and number == np.inf):
                self._raise(f"{_shown(text)} is not a number that can stand here", line)
            if column == 0 and number > 0:
                self._raise(f"the log probability {_shown(text)} is positive", line)
            if column == 0:
                self._rows.log10_probs[row] = number
            elif not self._top:
                self._rows.log10_backoffs[row] = number + np.float32(0)
            elif number != 0:
                self._cursor.ignored_backoffs[0] += 1
        self._cursor.odd_count[0] = 0

    def _fail(self, reason: int) -> NoReturn:
        begin, end = self._cursor.bad.tolist()
        bad = _shown(self._lines.block[begin:end].tobytes())
        problem = {
            arpa_rows.BAD_NUMBER: f"{bad} is not a number that can stand here",
            arpa_rows.POSITIVE_LOG_PROB: f"the log probability {bad} is positive",
            arpa_rows.TOO_FEW_WORDS: f"fewer than {self._order} words",
            arpa_rows.TOO_MANY_WORDS: f"more than {self._order} words and a back-off",
            arpa_rows.UNKNOWN_WORD: f"the word {bad} is not among the unigrams",
        }[reason]
        self._raise(problem, self._lines.line)

    def _raise(self, problem: str, line: int) -> NoReturn:
        raise ModelFormatError(
            self._lines.path, f"{problem}, in the {self._order}-grams", line=line
        )


def _doubled(array: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate((array, np.empty_like(array)))


def _shown(text: bytes | None) -> str:
    """A part of a file for an error message."""
    if text is None:
        return "the end of the file"
    shown = text[:60].decode(errors="replace")
    return repr(shown + "…" if len(text) > 60 else shown)
