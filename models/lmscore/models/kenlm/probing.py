"""N-grams in KenLM's probing format: a hash table of whole n-grams for each length.

After the vocabulary stand the unigrams, (count + 1) pairs of probability and back-off, and a hash
table for each length from 2. A key is the hash of the n-gram's word ids, from the last word back
to the first. A bucket's values are probability and back-off, at the top order the probability
alone. A probability's sign bit says that no longer n-gram ends with the n-gram; the number meant
is always the negative one. All values are log10. Source: KenLM's lm/search_hashed.hh.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import ONE, ZERO, i64, inline, kernel, load_u64, prefetch, u64
from lmscore.models.kenlm.hash_table import KEY_BYTES, HashTable, find, home, take_buckets
from lmscore.models.kenlm.header import Header
from lmscore.models.kenlm.search import Matches, Queries
from lmscore.models.kenlm.sections import Sections

_HASH_MULTIPLIER: Any = np.uint64(8978948897894561157)
_WORD_MULTIPLIER: Any = np.uint64(17894857484156487943)
_UNIGRAM_BYTES = 8
_MIDDLE_BYTES = KEY_BYTES + 8  # key, probability, back-off
_LONGEST_BYTES = KEY_BYTES + 4  # key, probability
_SIGN: Any = np.uint64(1 << 31)
_AHEAD = 16  # queries whose buckets are on their way from memory
_SLOTS = 64  # at least the 2 * _AHEAD queries begun and not yet answered; a power of two
_NEXT_LINE = 48  # bytes after a home: a search often ends there, in the next cache line


class ProbingTables(NamedTuple):
    """Where everything is, in bytes of the file."""

    file: NDArray[np.uint8]
    floats: NDArray[np.float32]  # the same memory
    unigrams: int
    begins: NDArray[np.int64]  # (order - 1,) of the tables of bigrams and longer
    buckets: NDArray[np.uint64]  # (order - 1,)


class _Asked(NamedTuple):
    """What has been asked of the memory, by query modulo _SLOTS and words of context less one."""

    keys: NDArray[np.uint64]  # (_SLOTS, order - 1)
    homes: NDArray[np.int64]  # (_SLOTS, order - 1)
    lengths: NDArray[np.int64]  # (_SLOTS,) words of context worth looking at


def read_tables(sections: Sections, header: Header) -> ProbingTables:
    """Locate the tables after the vocabulary."""
    unigrams = sections.take(_UNIGRAM_BYTES * (header.counts[0] + 1), "unigrams")
    begins = np.empty(header.order - 1, np.int64)
    buckets = np.empty(header.order - 1, np.uint64)
    for i, count in enumerate(header.counts[1:]):
        bucket_bytes = _MIDDLE_BYTES if i + 2 < header.order else _LONGEST_BYTES
        begins[i], buckets[i] = take_buckets(
            sections, f"{i + 2}-grams", count, header.probing_multiplier, bucket_bytes
        )
    file = sections.file[: sections.position]
    return ProbingTables(file, file.view(np.float32), unigrams, begins, buckets)


def look_up(tables: ProbingTables, queries: Queries, matches: Matches) -> None:
    """Answer queries."""
    shape = (_SLOTS, len(tables.begins))
    asked = _Asked(
        np.empty(shape, np.uint64), np.empty(shape, np.int64), np.empty(_SLOTS, np.int64)
    )
    _look_up(tables, queries, asked, matches)


@kernel
def _look_up(tables: ProbingTables, queries: Queries, asked: _Asked, matches: Matches) -> None:
    """Answer queries in three steps, each _AHEAD queries after the one before.

    First the bigram is asked of the memory; when it has come, longer n-grams if there is one;
    when these have come, they are looked at.
    """
    n = len(queries.words)
    for i in range(n + 2 * _AHEAD):
        if i < n:
            prefetch(tables.file, _unigram(tables, queries.words[i]))
            _ask(tables, queries, asked, i, 1, min(1, queries.lengths[i]))
        if _AHEAD <= i < n + _AHEAD:
            _take_short(tables, queries, asked, matches, i - _AHEAD)
        if i >= 2 * _AHEAD:
            _take_long(tables, asked, matches, i - 2 * _AHEAD)


@inline
def _take_short(
    tables: ProbingTables, queries: Queries, asked: _Asked, matches: Matches, i: int
) -> None:
    """Answer with a unigram or a bigram, and ask for longer n-grams if there may be any."""
    asked.lengths[i & (_SLOTS - 1)] = 0
    weights = load_u64(tables.file, _unigram(tables, queries.words[i]))
    _set_match(matches, i, 0, weights)
    if queries.lengths[i] > 0 and weights & _SIGN == ZERO and _take(tables, asked, matches, i, 1):
        asked.lengths[i & (_SLOTS - 1)] = queries.lengths[i]
        _ask(tables, queries, asked, i, 2, queries.lengths[i])


@inline
def _take_long(tables: ProbingTables, asked: _Asked, matches: Matches, i: int) -> None:
    """Answer with ever longer n-grams from trigrams on, as long as there are any."""
    for k in range(2, asked.lengths[i & (_SLOTS - 1)] + 1):
        if not _take(tables, asked, matches, i, k):
            break


@inline
def _unigram(tables: ProbingTables, word: Any) -> int:
    at: int = tables.unigrams + _UNIGRAM_BYTES * i64(word)
    return at


@inline
def _table(tables: ProbingTables, k: int) -> HashTable:
    """The table of n-grams with k words of context."""
    bucket_bytes = _MIDDLE_BYTES if k < len(tables.begins) else _LONGEST_BYTES
    return HashTable(tables.file, tables.begins[k - 1], bucket_bytes, tables.buckets[k - 1])


@inline
def _ask(
    tables: ProbingTables, queries: Queries, asked: _Asked, i: int, first: int, last: int
) -> None:
    """Ask for the buckets of a query's n-grams with first to last words of context."""
    slot = i & (_SLOTS - 1)
    key = u64(queries.words[i]) if first == 1 else asked.keys[slot, first - 2]
    for k in range(first, last + 1):
        word = u64(queries.contexts[queries.ends[i] - k])
        key = (key * _HASH_MULTIPLIER) ^ ((word + ONE) * _WORD_MULTIPLIER)
        at = home(_table(tables, k), key)
        prefetch(tables.file, at)
        prefetch(tables.file, at + _NEXT_LINE)
        asked.keys[slot, k - 1] = key
        asked.homes[slot, k - 1] = at


@inline
def _take(tables: ProbingTables, asked: _Asked, matches: Matches, i: int, k: int) -> bool:
    """Answer with the n-gram with k words of context, if any; tell whether longer ones may be."""
    slot = i & (_SLOTS - 1)
    at = find(_table(tables, k), asked.keys[slot, k - 1], asked.homes[slot, k - 1])
    if at < 0:
        return False
    if k == len(tables.begins):
        matches.orders[i] = k + 1
        matches.log10_probs[i] = tables.floats[(at + KEY_BYTES) >> 2]
        return False
    weights = load_u64(tables.file, at + KEY_BYTES)
    _set_match(matches, i, k, weights)
    longer: bool = weights & _SIGN == ZERO
    return longer


@inline
def _set_match(matches: Matches, i: int, k: int, weights: Any) -> None:
    """Note an n-gram with k words of context; weights are the bits of its two numbers."""
    matches.orders[i] = k + 1
    matches.log10_probs[i] = np.uint32(weights | _SIGN).view(np.float32)
    matches.log10_backoffs[i, k] = np.uint32(weights >> u64(32)).view(np.float32)
