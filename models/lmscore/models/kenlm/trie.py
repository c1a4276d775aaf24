"""Looking up n-grams in a KenLM trie where it lies; every pointer is held within its level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import ModelFormatError
from lmscore.models.kenlm.interpolation import next_pivot
from lmscore.models.kenlm.search import Matches, Queries
from lmscore.models.kenlm.trie_layout import UNIGRAM_BYTES, TrieTables
from lmscore.models.ngram.compiled import ONE, ZERO, i64, inline, kernel, load_u64, u64

_SIGN: Any = np.uint64(1 << 31)


def check_ends(tables: TrieTables, unigrams: int, path: Path) -> None:
    """Raise ModelFormatError unless each level's last pointer is the end of the next level."""
    ends, counts = _level_ends(tables, unigrams), tables.levels["count"]
    for length, (end, count) in enumerate(zip(ends, counts, strict=True), start=2):
        if end != count:
            problem = f"the {length}-grams end at {end} by their pointers, at {count} by the header"
            raise ModelFormatError(path, problem)


@kernel
def look_up(tables: TrieTables, queries: Queries, matches: Matches) -> None:
    """Answer queries, one after the other."""
    top = len(tables.levels)
    for i in range(len(queries.words)):
        word = i64(queries.words[i])
        unigram = (tables.unigrams + UNIGRAM_BYTES * word) >> 2
        matches.orders[i] = 1
        matches.log10_probs[i] = tables.floats[unigram]
        matches.log10_backoffs[i, 0] = tables.floats[unigram + 1]
        begin, end = _unigram_pointer(tables, word), _unigram_pointer(tables, word + 1)
        for k in range(1, min(queries.lengths[i], top) + 1):
            level = tables.levels[k - 1]
            context = queries.contexts[queries.ends[i] - k]
            record = _find_child(tables, level, begin, end, context)
            if record < 0:
                break
            matches.orders[i] = k + 1
            matches.log10_probs[i] = _prob(tables, level, record, k == top)
            if k < top:
                matches.log10_backoffs[i, k] = _backoff(tables, level, record)
                begin = _pointer(tables, level, record)
                end = _pointer(tables, level, record + 1)


@kernel
def _level_ends(tables: TrieTables, unigrams: int) -> NDArray[np.int64]:
    ends = np.empty(len(tables.levels), np.int64)
    ends[0] = _unigram_pointer(tables, unigrams)
    for i in range(len(tables.levels) - 1):
        level = tables.levels[i]
        ends[i + 1] = _pointer(tables, level, level["count"])
    return ends


@inline
def _read_bits(file: NDArray[np.uint8], bit: int, count: int) -> Any:
    """Up to 57 bits of the file as a number; the 8 bytes from the first one must exist."""
    mask = (ONE << u64(count)) - ONE
    return (load_u64(file, bit >> 3) >> u64(bit & 7)) & mask


@inline
def _unigram_pointer(tables: TrieTables, word: int) -> int:
    pointer = tables.integers[(tables.unigrams + UNIGRAM_BYTES * word + 8) >> 3]
    return i64(min(pointer, u64(tables.levels[0]["count"])))


@inline
def _pointer(tables: TrieTables, level: Any, record: int) -> int:
    """Where the children of a record begin in the next level."""
    kept = level["pointer_bits"]
    bit = level["begin"] + (record + 1) * level["record_bits"] - kept
    pointer = _read_bits(tables.file, bit, kept)
    if level["array_size"]:
        high = _last_not_above(tables.integers, level["array"], level["array_size"], record)
        pointer |= u64(high) << u64(kept)
    return i64(min(pointer, u64(level["children"])))


@inline
def _last_not_above(integers: NDArray[np.uint64], begin: int, size: int, limit: int) -> int:
    """The last of size ascending numbers that is at most limit; 0 if none is."""
    low, high = 0, size
    while high - low > 1:
        middle = (low + high) >> 1
        if integers[begin + middle] <= u64(limit):
            low = middle
        else:
            high = middle
    return low


@inline
def _find_child(tables: TrieTables, level: Any, begin: int, end: int, word: int) -> int:
    """The record of a word among a level's records from begin to end, or -1."""
    key = u64(word)
    before, after = begin - 1, end
    word_before, word_after = ZERO, (ONE << u64(tables.word_bits)) - ONE
    step = 0
    while after - before > 1:
        width = after - before - 1
        record = before + 1 + next_pivot(step, key - word_before, word_after - word_before, width)
        bit = level["begin"] + record * level["record_bits"]
        found = _read_bits(tables.file, bit, tables.word_bits)
        if found < key:
            before, word_before = record, found
        elif found > key:
            after, word_after = record, found
        else:
            return record
        step += 1
    return -1


@inline
def _prob(tables: TrieTables, level: Any, record: int, top: bool) -> Any:
    bit = level["begin"] + record * level["record_bits"] + tables.word_bits
    if tables.prob_bits == 0:
        return _as_float(_read_bits(tables.file, bit, 31) | _SIGN)
    if not top:
        bit += tables.backoff_bits  # stands first
    bin_ = i64(_read_bits(tables.file, bit, tables.prob_bits))
    return tables.floats[level["prob_table"] + bin_]


@inline
def _backoff(tables: TrieTables, level: Any, record: int) -> Any:
    bit = level["begin"] + record * level["record_bits"] + tables.word_bits
    if tables.prob_bits == 0:
        return _as_float(_read_bits(tables.file, bit + 31, 32))
    bin_ = i64(_read_bits(tables.file, bit, tables.backoff_bits))
    return tables.floats[level["backoff_table"] + bin_]


@inline
def _as_float(bits: Any) -> Any:
    return np.uint32(bits).view(np.float32)
