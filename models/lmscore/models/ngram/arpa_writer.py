"""Writing ARPA files as lmplz writes them, blocks of rows formatted by compiled loops.

Numbers have as few digits, of seven to nine, as give back the same float32. What is impossible is
-99, as SRILM writes it, since readers do not agree on -inf.
"""

from __future__ import annotations

import gzip
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import inline, kernel
from lmscore.models.ngram.table import NgramTable, OrderTable
from lmscore.models.ngram.words import pool_words

_ROWS_AT_ONCE = 1 << 16
_NUMBER_BYTES = 24  # at most, with what follows
_TAB, _LINE_FEED, _SPACE, _MINUS, _POINT, _ZERO, _E = b"\t\n -.0e"
_IMPOSSIBLE = -99.0
_GZIP_LEVEL = 6
_POWERS: NDArray[np.float64] = np.power(10.0, np.arange(64))


def write_arpa(
    table: NgramTable, path: Path, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write a model, compressed if the name ends in .gz; progress is told of the rows written.

    It is written beside the path and then moved there, so that nobody sees half a file. Raises
    OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pack = _compressed if path.suffix == ".gz" else bytes
    try:
        with temporary.open("wb") as file:
            for block, rows, all_rows in _blocks(table, pack):
                file.write(block)
                if progress is not None:
                    progress(rows, all_rows)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _compressed(block: bytes) -> bytes:
    """A member of a gzip file, which may have many."""
    return gzip.compress(block, _GZIP_LEVEL, mtime=0)


def _blocks(table: NgramTable, pack: Callable[[bytes], bytes]) -> Iterator[tuple[bytes, int, int]]:
    """The file in packed blocks, with the rows written after each, and how many there are."""
    pool, offsets = pool_words(table.words)
    all_rows = sum(map(len, table.orders))
    rows = 0
    counts = [b"ngram %d=%d\n" % (n, len(level)) for n, level in enumerate(table.orders, 1)]
    yield pack(b"\\data\\\n" + b"".join(counts)), rows, all_rows
    for n, level in enumerate(table.orders, 1):
        yield pack(b"\n\\%d-grams:\n" % n), rows, all_rows
        starts = range(0, len(level), _ROWS_AT_ONCE)

        def packed(start: int, n: int = n, level: OrderTable = level) -> bytes:
            return pack(_format_rows(level, start, pool, offsets, backoffs=n < table.order))

        for start, block in zip(starts, _made_ahead(packed, starts), strict=True):
            rows += min(_ROWS_AT_ONCE, len(level) - start)
            yield block, rows, all_rows
    yield pack(b"\n\\end\\\n"), all_rows, all_rows


def _made_ahead(make: Callable[[int], bytes], starts: Iterable[int]) -> Iterator[bytes]:
    """Blocks in order, the next few of which are made while one is written."""
    cores = os.cpu_count() or 1
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(cores) as threads:
        for start in starts:
            waiting.append(threads.submit(make, start))
            if len(waiting) > 2 * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _format_rows(
    level: OrderTable,
    start: int,
    pool: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    *,
    backoffs: bool,
) -> bytes:
    ids = level.ids[start : start + _ROWS_AT_ONCE]
    word_bytes = int((offsets[ids + np.uint32(1)] - offsets[ids]).sum()) + ids.size
    text = np.empty(word_bytes + 2 * _NUMBER_BYTES * len(ids), np.uint8)
    rows = slice(start, start + _ROWS_AT_ONCE)
    size = _write_rows(
        ids, level.log10_probs[rows], level.log10_backoffs[rows], backoffs, pool, offsets,
        _POWERS, text,
    )  # fmt: skip
    return text[:size].tobytes()


@kernel
def _write_rows(
    ids: NDArray[np.uint32],
    log10_probs: NDArray[np.float32],
    log10_backoffs: NDArray[np.float32],
    backoffs: bool,
    pool: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    powers: NDArray[np.float64],
    text: NDArray[np.uint8],
) -> int:
    """Write rows into a text that has room for them; how many bytes they are."""
    at = 0
    for row in range(ids.shape[0]):
        at = _write_number(log10_probs[row], powers, text, at)
        separator = _TAB
        for k in range(ids.shape[1]):
            text[at] = separator
            at += 1
            separator = _SPACE
            word = ids[row, k]
            for i in range(offsets[word], offsets[word + 1]):
                text[at] = pool[i]
                at += 1
        if backoffs:
            text[at] = _TAB
            at = _write_number(log10_backoffs[row], powers, text, at + 1)
        text[at] = _LINE_FEED
        at += 1
    return at


@inline
def _write_number(
    value: float, powers: NDArray[np.float64], text: NDArray[np.uint8], at: int
) -> int:
    """Write a float32; where it ends."""
    if value == 0:
        text[at] = _ZERO
        return at + 1
    number: float = np.float64(value)
    if number == -np.inf:
        number = _IMPOSSIBLE
    if number < 0:
        text[at] = _MINUS
        at += 1
        number = -number
    exponent = 0 if 1 <= number < 10 else -1 if 0.1 <= number < 1 else _exponent_of(number)
    digits, exponent = _shortest_digits(number, exponent, powers)
    if exponent < -5:
        at = _write_digits(digits, 0, text, at)
        text[at] = _E
        text[at + 1] = _MINUS
        return _write_whole(-exponent, text, at + 2)
    return _write_digits(digits, exponent, text, at)


@inline
def _exponent_of(number: float) -> int:
    return int(np.floor(np.log10(number)))


@inline
def _shortest_digits(number: float, exponent: int, powers: NDArray[np.float64]) -> tuple[int, int]:
    """Digits of a number, as a whole one of nine, and the exponent of the first of them."""
    digits = 0
    for precision in (6, 7, 8):  # digits after the first
        shift = precision - exponent
        scale = float(powers[shift]) if shift >= 0 else 1.0 / float(powers[-shift])
        digits = int(np.floor(number * scale + 0.5))
        rest = int(powers[8 - precision])
        if precision == 8 or np.float32(digits / scale) == np.float32(number):
            digits *= rest
            break
    if digits >= 1_000_000_000:  # rounded up to the next power of ten
        digits //= 10
        exponent += 1
    return digits, exponent


@inline
def _write_digits(digits: int, exponent: int, text: NDArray[np.uint8], at: int) -> int:
    """Write nine digits, the first of which stands for 10 ** exponent, without needless zeros."""
    if exponent < 0:
        text[at] = _ZERO
        text[at + 1] = _POINT
        at += 2
        for _ in range(-exponent - 1):
            text[at] = _ZERO
            at += 1
    whole = max(exponent + 1, 0)  # digits before the point
    size = 9
    while size > whole and digits % 10 == 0:
        digits //= 10
        size -= 1
    end = at + size + (0 < whole < size)
    position = end
    for place in range(size, 0, -1):  # divisions by a constant are fast, so from the last digit
        position -= 1
        text[position] = _ZERO + digits % 10
        digits //= 10
        if place - 1 == whole and whole > 0:
            position -= 1
            text[position] = _POINT
    return end


@inline
def _write_whole(number: int, text: NDArray[np.uint8], at: int) -> int:
    """Write a number below 100."""
    if number >= 10:
        text[at] = _ZERO + number // 10
        at += 1
    text[at] = _ZERO + number % 10
    return at + 1
