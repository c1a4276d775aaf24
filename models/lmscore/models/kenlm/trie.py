"""Looking up n-grams in a KenLM trie where it lies; every pointer is held within its level."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import ONE, ZERO, i64, inline, kernel, load_u64, prefetch, u64
from lmscore.models.errors import ModelFormatError
from lmscore.models.kenlm.interpolation import next_pivot
from lmscore.models.kenlm.search import Matches, Queries
from lmscore.models.kenlm.trie_layout import UNIGRAM_BYTES, TrieTables

_BLOCK = 32
_SIGN: Any = np.uint64(1 << 31)


def check_ends(tables: TrieTables, unigrams: int, path: Path) -> None:
    """Raise ModelFormatError unless each level's last pointer is the end of the next level."""
    counts = tables.levels["count"]
    ends = np.empty_like(counts)
    _read_level_ends(tables, unigrams, ends)
    for length, (end, count) in enumerate(zip(ends, counts, strict=True), start=2):
        if end != count:
            problem = f"the {length}-grams end at {end} by their pointers, at {count} by the header"
            raise ModelFormatError(path, problem)


class _Block(NamedTuple):
    """The queries of a block that longer n-grams may answer, and where their children are."""

    queries: NDArray[np.int64]
    begins: NDArray[np.int64]  # records of the next level
    ends: NDArray[np.int64]


def look_up(tables: TrieTables, queries: Queries, matches: Matches) -> None:
    """Answer queries."""
    block = _Block(*np.empty((3, _BLOCK), np.int64))
    _look_up(tables, queries, block, matches)


@kernel
def _look_up(tables: TrieTables, queries: Queries, block: _Block, matches: Matches) -> None:
    """Answer queries, a block of them at a time and level by level.

    What a level's searches look at first is asked of the memory for the whole block at once.
    """
    for begin in range(0, len(queries.words), _BLOCK):
        end = min(begin + _BLOCK, len(queries.words))
        remaining = _take_unigrams(tables, queries, matches, block, begin, end)
        for k in range(1, len(tables.levels) + 1):
            _ask(tables, queries, block, k, remaining)
            remaining = _take_level(tables, queries, matches, block, k, remaining)


@inline
def _take_unigrams(
    tables: TrieTables, queries: Queries, matches: Matches, block: _Block, begin: int, end: int
) -> int:
    """Answer with unigrams; collect the queries that bigrams may answer, return how many."""
    for i in range(begin, end):
        prefetch(tables.file, tables.unigrams + UNIGRAM_BYTES * i64(queries.words[i]))
    remaining = 0
    for i in range(begin, end):
        word = i64(queries.words[i])
        unigram = (tables.unigrams + UNIGRAM_BYTES * word) >> 2
        matches.orders[i] = 1
        matches.log10_probs[i] = tables.floats[unigram]
        matches.log10_backoffs[i, 0] = tables.floats[unigram + 1]
        block.queries[remaining] = i
        block.begins[remaining] = _unigram_pointer(tables, word)
        block.ends[remaining] = _unigram_pointer(tables, word + 1)
        remaining += queries.lengths[i] > 0 and block.begins[remaining] < block.ends[remaining]
    return remaining


@inline
def _ask(tables: TrieTables, queries: Queries, block: _Block, k: int, remaining: int) -> None:
    """Ask the memory for the record where each search will begin."""
    level = tables.levels[k - 1]
    for a in range(remaining):
        i = block.queries[a]
        word = u64(queries.contexts[queries.ends[i] - k])
        width = block.ends[a] - block.begins[a]
        record = block.begins[a] + next_pivot(0, word, _word_mask(tables), width)
        prefetch(tables.file, (level["begin"] + record * level["record_bits"]) >> 3)


@inline
def _take_level(
    tables: TrieTables, queries: Queries, matches: Matches, block: _Block, k: int, remaining: int
) -> int:
    """Answer with n-grams of k words of context where they exist; keep what may be longer."""
    level = tables.levels[k - 1]
    top = k == len(tables.levels)
    kept = 0
    for a in range(remaining):
        i = block.queries[a]
        word = u64(queries.contexts[queries.ends[i] - k])
        record = _find_child(tables, level, block.begins[a], block.ends[a], word)
        if record < 0:
            continue
        matches.orders[i] = k + 1
        matches.log10_probs[i] = _prob(tables, level, record, top)
        if not top:
            matches.log10_backoffs[i, k] = _backoff(tables, level, record)
            block.queries[kept] = i
            block.begins[kept] = _pointer(tables, level, record)
            block.ends[kept] = _pointer(tables, level, record + 1)
            kept += queries.lengths[i] > k and block.begins[kept] < block.ends[kept]
    return kept


@kernel
def _read_level_ends(tables: TrieTables, unigrams: int, ends: NDArray[np.int64]) -> None:
    ends[0] = _unigram_pointer(tables, unigrams)
    for i in range(len(tables.levels) - 1):
        level = tables.levels[i]
        ends[i + 1] = _pointer(tables, level, level["count"])


@inline
def _read_bits(file: NDArray[np.uint8], bit: int, count: int) -> Any:
    """Up to 57 bits of the file as a number; the 8 bytes from the first one must exist."""
    mask = (ONE << u64(count)) - ONE
    return (load_u64(file, bit >> 3) >> u64(bit & 7)) & mask


@inline
def _unigram_pointer(tables: TrieTables, word: int) -> int:
    pointer = tables.integers[(tables.unigrams + UNIGRAM_BYTES * word + 8) >> 3]
    bounded: int = i64(min(pointer, u64(tables.levels[0]["count"])))
    return bounded


@inline
def _pointer(tables: TrieTables, level: Any, record: int) -> int:
    """Where the children of a record begin in the next level."""
    kept = level["pointer_bits"]
    bit = level["begin"] + (record + 1) * level["record_bits"] - kept
    pointer = _read_bits(tables.file, bit, kept)
    if level["array_size"]:
        high = _last_not_above(tables.integers, level["array"], level["array_size"], record)
        pointer |= u64(high) << u64(kept)
    bounded: int = i64(min(pointer, u64(level["children"])))
    return bounded


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
def _find_child(tables: TrieTables, level: Any, begin: int, end: int, key: Any) -> int:
    """The record of a word among a level's records from begin to end, or -1."""
    before, after = begin - 1, end
    word_before, word_after = ZERO, _word_mask(tables)
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
def _word_mask(tables: TrieTables) -> Any:
    return (ONE << u64(tables.word_bits)) - ONE


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
