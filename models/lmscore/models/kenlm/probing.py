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

from lmscore.models.kenlm.hash_table import KEY_BYTES, HashTable, find, home, take_buckets
from lmscore.models.kenlm.header import Header
from lmscore.models.kenlm.search import Matches, Queries
from lmscore.models.kenlm.sections import Sections
from lmscore.models.ngram.compiled import ONE, ZERO, i64, inline, kernel, load_u64, prefetch, u64

_HASH_MULTIPLIER: Any = np.uint64(8978948897894561157)
_WORD_MULTIPLIER: Any = np.uint64(17894857484156487943)
_UNIGRAM_BYTES = 8
_MIDDLE_BYTES = KEY_BYTES + 8  # key, probability, back-off
_LONGEST_BYTES = KEY_BYTES + 4  # key, probability
_SIGN: Any = np.uint64(1 << 31)
_AHEAD = 16  # queries whose buckets are on their way from memory; a power of two
_NEXT_LINE = 48  # bytes after a home: a search often ends there, in the next cache line


class ProbingTables(NamedTuple):
    """Where everything is, in bytes of the file."""

    file: NDArray[np.uint8]
    floats: NDArray[np.float32]  # the same memory
    unigrams: int
    begins: NDArray[np.int64]  # (order - 1,) of the tables of bigrams and longer
    buckets: NDArray[np.uint64]  # (order - 1,)


class _Asked(NamedTuple):
    """What has been asked of the memory: n-grams by query modulo _AHEAD, and by length."""

    keys: NDArray[np.uint64]  # (_AHEAD, order - 1)
    homes: NDArray[np.int64]  # (_AHEAD, order - 1)


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
    shape = (_AHEAD, len(tables.begins))
    asked = _Asked(np.empty(shape, np.uint64), np.empty(shape, np.int64))
    _look_up(tables, queries, asked, matches)


@kernel
def _look_up(tables: ProbingTables, queries: Queries, asked: _Asked, matches: Matches) -> None:
    """Answer queries; while one is answered, the memory fetches what the next ones look at."""
    n = len(queries.words)
    for i in range(min(_AHEAD, n)):
        _ask(tables, queries, asked, i)
    for i in range(n):
        _answer(tables, queries, asked, matches, i)
        if i + _AHEAD < n:
            _ask(tables, queries, asked, i + _AHEAD)


@inline
def _table(tables: ProbingTables, k: int) -> HashTable:
    """The table of n-grams with k words of context."""
    bucket_bytes = _MIDDLE_BYTES if k < len(tables.begins) else _LONGEST_BYTES
    return HashTable(tables.file, tables.begins[k - 1], bucket_bytes, tables.buckets[k - 1])


@inline
def _ask(tables: ProbingTables, queries: Queries, asked: _Asked, i: int) -> None:
    """Compute the keys of a query's n-grams of every length, and ask for their buckets."""
    slot = i & (_AHEAD - 1)
    key = u64(queries.words[i])
    for k in range(1, queries.lengths[i] + 1):
        word = u64(queries.contexts[queries.ends[i] - k])
        key = (key * _HASH_MULTIPLIER) ^ ((word + ONE) * _WORD_MULTIPLIER)
        at = home(_table(tables, k), key)
        prefetch(tables.file, at)
        prefetch(tables.file, at + _NEXT_LINE)
        asked.keys[slot, k - 1] = key
        asked.homes[slot, k - 1] = at


@inline
def _answer(
    tables: ProbingTables, queries: Queries, asked: _Asked, matches: Matches, i: int
) -> None:
    """Go from the unigram to longer n-grams, as long as there are any."""
    slot = i & (_AHEAD - 1)
    weights = load_u64(tables.file, tables.unigrams + _UNIGRAM_BYTES * i64(queries.words[i]))
    _set_match(matches, i, 0, weights)
    for k in range(1, queries.lengths[i] + 1):
        if weights & _SIGN != ZERO:
            break
        at = find(_table(tables, k), asked.keys[slot, k - 1], asked.homes[slot, k - 1])
        if at < 0:
            break
        if k == len(tables.begins):
            matches.orders[i] = k + 1
            matches.log10_probs[i] = tables.floats[(at + KEY_BYTES) >> 2]
        else:
            weights = load_u64(tables.file, at + KEY_BYTES)
            _set_match(matches, i, k, weights)


@inline
def _set_match(matches: Matches, i: int, k: int, weights: Any) -> None:
    """Note an n-gram with k words of context; weights are the bits of its two numbers."""
    matches.orders[i] = k + 1
    matches.log10_probs[i] = np.uint32(weights | _SIGN).view(np.float32)
    matches.log10_backoffs[i, k] = np.uint32(weights >> u64(32)).view(np.float32)
