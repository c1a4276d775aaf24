"""Rows of an ARPA section, parsed from raw bytes a block at a time."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import float_bits, i64, inline, kernel, u64
from lmscore.models.ngram.words import WordTable, find_word, hash_word, is_separator

# What stopped parse_rows, told in Cursor.reason.
(
    BLOCK_DONE,  # all lines of the block are read
    SECTION_DONE,  # the next line starts with a backslash
    ARRAYS_FULL,  # no more room for rows, or for numbers left to exact_float32
    BAD_NUMBER,
    POSITIVE_LOG_PROB,
    TOO_FEW_WORDS,
    TOO_MANY_WORDS,
    UNKNOWN_WORD,
) = range(8)

LINE_FEED = 10
_MINUS, _PLUS, _POINT, _ZERO, _E, _I, _N, _F, _BACKSLASH = b"-+.0einf\\"
MAX_NUMBER_LENGTH = 100  # characters; nobody writes more, and exact arithmetic is not for free
_DROPPED_BITS = u64(0x1FFFFFFF)  # of a float64, when it becomes a float32
_HALF_OF_DROPPED_BITS = u64(0x10000000)
_EXACT_POWERS = np.array([10.0**i for i in range(23)])  # every one a float64 without rounding


class Cursor(NamedTuple):
    """Where parse_rows stands; arrays of one element, for it moves them."""

    position: NDArray[np.int64]  # in the block
    line: NDArray[np.int64]  # of the file, from 1
    row: NDArray[np.int64]  # of the section, from 0
    pool_size: NDArray[np.int64]  # bytes of words so far
    odd_count: NDArray[np.int64]  # rows used of odd
    ignored_backoffs: NDArray[np.int64]  # back-offs other than 0 at the top order
    bad: NDArray[np.int64]  # (2,) the bytes that an error is about

    @classmethod
    def at(cls, position: int, line: int) -> Cursor:
        """A cursor before the first row of a section."""
        start = cls(*(np.zeros(1 if name != "bad" else 2, np.int64) for name in cls._fields))
        start.position[0], start.line[0] = position, line
        return start


class Rows(NamedTuple):
    """Room for what parse_rows reads."""

    ids: NDArray[np.uint32]  # (rows, order); (0, 0) for unigrams, whose words go to the pool
    log10_probs: NDArray[np.float32]  # (rows,)
    log10_backoffs: NDArray[np.float32]  # (rows,)
    pool: NDArray[np.uint8]  # words one after the other, unigrams only
    offsets: NDArray[np.int64]  # (rows + 1,) where they begin
    odd: NDArray[np.int64]  # (room, 5) row, 0 or 1 for back-off, bytes from, to, line


def exact_float32(text: bytes) -> np.float32:
    """The float32 nearest to a decimal number, ties to even, as strtof has it.

    Raises ValueError for anything but a number. Going through float64 rounds twice, which is
    wrong where the first rounding lands halfway between two float32.
    """
    if len(text) > MAX_NUMBER_LENGTH or b"_" in text:
        raise ValueError
    wide = float(text)
    with np.errstate(over="ignore", under="ignore"):
        nearest = np.float32(wide)
    if not np.isfinite(nearest) or wide == float(nearest):
        return nearest
    exact = Fraction(text.decode())
    below, above = sorted(
        (nearest, np.nextafter(nearest, np.float32(np.inf if wide > float(nearest) else -np.inf)))
    )
    to_below, to_above = exact - Fraction(float(below)), Fraction(float(above)) - exact
    if to_below == to_above:
        return nearest  # rounded once: the float64 was exact
    return np.float32(below if to_below < to_above else above)


@inline
def _skip_blanks(data: NDArray[np.uint8], position: int) -> int:
    """The next byte that is not a separator, or the line feed."""
    while data[position] != LINE_FEED and is_separator(data[position]):
        position += 1
    return position


@inline
def _parse_number(data: NDArray[np.uint8], position: int) -> tuple[Any, int, bool]:
    """A number, where it stops, and whether it is exact; if not, exact_float32 is to read it."""
    negative = data[position] == _MINUS
    position += negative or data[position] == _PLUS
    start = position
    mantissa, position = _take_digits(data, position, i64(0))
    exponent = i64(0)
    if data[position] == _POINT:
        point = position
        mantissa, position = _take_digits(data, position + 1, mantissa)
        exponent = point + 1 - position
        start += 1  # the point is no digit
    digits = position - start
    if digits == 0 and _says_infinity(data, position):
        return np.float32(-np.inf if negative else np.inf), position + 3, True
    regular = 0 < digits <= 18
    if data[position] | 32 == _E:
        power, position = _take_exponent(data, position + 1)
        exponent += power
    regular = regular and is_separator(data[position])
    while not is_separator(data[position]):
        position += 1
    if not regular or mantissa > 1 << 53 or exponent < -22 or exponent > 22:
        return np.float32(0), position, False
    # Both operands are exact, hence the quotient is the nearest float64.
    value = np.float64(mantissa)
    value = value / _EXACT_POWERS[-exponent] if exponent < 0 else value * _EXACT_POWERS[exponent]
    # Where the float64 lies halfway between two float32, how it was rounded decides; and below
    # the normal float32, halfway lies elsewhere.
    halfway = float_bits(value) & _DROPPED_BITS == _HALF_OF_DROPPED_BITS
    exact = value == 0 or (value > 1e-37 and not halfway)
    return np.float32(-value if negative else value), position, exact


@inline
def _take_digits(data: NDArray[np.uint8], position: int, mantissa: int) -> tuple[int, int]:
    """Append the digits from position on to a number; it and where they stop."""
    while True:
        digit = i64(data[position]) - _ZERO
        if not 0 <= digit <= 9:
            return mantissa, position
        mantissa = mantissa * 10 + digit
        position += 1


@inline
def _take_exponent(data: NDArray[np.uint8], position: int) -> tuple[int, int]:
    """The exponent after an e, and where it stops; one out of all bounds where there is none."""
    negative = data[position] == _MINUS
    position += negative or data[position] == _PLUS
    power, end = _take_digits(data, position, i64(0))
    if not 0 < end - position < 9:
        power = 1000
    return -power if negative else power, end


@inline
def _says_infinity(data: NDArray[np.uint8], position: int) -> bool:
    return (
        data[position] | 32 == _I
        and data[position + 1] | 32 == _N
        and data[position + 2] | 32 == _F
        and is_separator(data[position + 3])
    )


@inline
def _note_odd(rows: Rows, cursor: Cursor, column: int, begin: int, end: int) -> None:
    odd = rows.odd[cursor.odd_count[0]]
    odd[0], odd[1], odd[2], odd[3] = cursor.row[0], column, begin, end
    odd[4] = cursor.line[0]
    cursor.odd_count[0] += 1


@inline
def _fail(cursor: Cursor, reason: int, begin: int, end: int) -> int:
    cursor.bad[0], cursor.bad[1] = begin, end
    return reason


@kernel
def parse_rows(
    block: NDArray[np.uint8],
    end: int,
    order: int,
    top: bool,
    table: WordTable,
    rows: Rows,
    cursor: Cursor,
) -> int:
    """Read rows of n-grams of length order until one of the reasons above, which is returned.

    block[:end] ends with a line feed; the pool has room for it. top: longer n-grams do not exist,
    so that back-offs mean nothing. An n-gram of one word is entered in the pool, a longer one is
    looked up in the table. On an error the cursor stays at the row, its bad at what is wrong.
    """
    while cursor.position[0] < end:
        position = _skip_blanks(block, cursor.position[0])
        if block[position] == _BACKSLASH:
            return SECTION_DONE
        if block[position] != LINE_FEED:
            row = cursor.row[0]
            if row == rows.log10_probs.size or cursor.odd_count[0] + 2 > rows.odd.shape[0]:
                return ARRAYS_FULL
            reason, position = _parse_prob(block, position, rows, cursor)
            if reason == BLOCK_DONE:
                reason, position = _parse_words(block, position, end, order, table, rows, cursor)
            if reason == BLOCK_DONE:
                reason, position = _parse_backoff(block, position, top, rows, cursor)
            if reason != BLOCK_DONE:
                return reason
            cursor.row[0] = row + 1
        cursor.position[0] = position + 1
        cursor.line[0] += 1
    return BLOCK_DONE


@inline
def _parse_prob(
    block: NDArray[np.uint8], begin: int, rows: Rows, cursor: Cursor
) -> tuple[int, int]:
    prob, position, exact = _parse_number(block, begin)
    if not exact:
        _note_odd(rows, cursor, 0, begin, position)
    rows.log10_probs[cursor.row[0]] = prob
    if prob > 0:
        return _fail(cursor, POSITIVE_LOG_PROB, begin, position), position
    return BLOCK_DONE, position


@inline
def _parse_words(
    block: NDArray[np.uint8],
    position: int,
    end: int,
    order: int,
    table: WordTable,
    rows: Rows,
    cursor: Cursor,
) -> tuple[int, int]:
    row = cursor.row[0]
    for i in range(order):
        begin = _skip_blanks(block, position)
        if block[begin] == LINE_FEED:
            return _fail(cursor, TOO_FEW_WORDS, begin, begin), begin
        value, position = hash_word(block, begin, end, table.parameters[2])
        if order == 1:
            size = cursor.pool_size[0]
            for k in range(position - begin):
                rows.pool[size + k] = block[begin + k]
            cursor.pool_size[0] = rows.offsets[row + 1] = size + position - begin
        else:
            word = find_word(table, value)
            if word < 0:
                return _fail(cursor, UNKNOWN_WORD, begin, position), position
            rows.ids[row, i] = word
    return BLOCK_DONE, position


@inline
def _parse_backoff(
    block: NDArray[np.uint8], position: int, top: bool, rows: Rows, cursor: Cursor
) -> tuple[int, int]:
    """The back-off, if there is one, and the end of the line."""
    backoff = np.float32(0)
    begin = _skip_blanks(block, position)
    end = begin
    if block[begin] != LINE_FEED:
        backoff, position, exact = _parse_number(block, begin)
        if not exact:
            _note_odd(rows, cursor, 1, begin, position)
        if backoff == np.inf:
            return _fail(cursor, BAD_NUMBER, begin, position), position
        end = _skip_blanks(block, position)
        if block[end] != LINE_FEED:
            return _fail(cursor, TOO_MANY_WORDS, end, end), end
    if top and backoff != 0:
        cursor.ignored_backoffs[0] += 1
        backoff = np.float32(0)
    rows.log10_backoffs[cursor.row[0]] = backoff + np.float32(0)  # no -0: one zero, one file
    return BLOCK_DONE, end
