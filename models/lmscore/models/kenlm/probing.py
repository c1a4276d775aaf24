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

from lmscore.models.kenlm.hash_table import KEY_UNITS, HashTable, find, home, take_buckets
from lmscore.models.kenlm.header import Header
from lmscore.models.kenlm.search import Matches, Queries
from lmscore.models.kenlm.sections import Sections
from lmscore.models.ngram.compiled import ONE, i64, inline, kernel, prefetch, u64

_HASH_MULTIPLIER: Any = np.uint64(8978948897894561157)
_WORD_MULTIPLIER: Any = np.uint64(17894857484156487943)
_SIGN: Any = np.uint32(0x80000000)
_BLOCK = 64  # words whose look-ups wait for memory together


class ProbingTables(NamedTuple):
    """Where everything is, in units of 4 bytes."""

    units: NDArray[np.uint32]  # the file
    floats: NDArray[np.float32]  # the same memory
    unigrams: int
    begins: NDArray[np.int64]  # (order - 1,) of the tables of bigrams and longer
    buckets: NDArray[np.uint64]  # (order - 1,)


class _Block(NamedTuple):
    """The words of a block that longer n-grams may still end with."""

    positions: NDArray[np.int64]  # among all words
    keys: NDArray[np.uint64]  # of the n-grams found
    homes: NDArray[np.int64]  # of the n-grams looked for


def read_tables(sections: Sections, header: Header) -> ProbingTables:
    """Locate the tables after the vocabulary."""
    unigrams = sections.take(8 * (header.counts[0] + 1), "unigrams")
    begins = np.empty(header.order - 1, np.int64)
    buckets = np.empty(header.order - 1, np.uint64)
    for i, count in enumerate(header.counts[1:]):
        bucket_units = KEY_UNITS + (2 if i + 2 < header.order else 1)
        begins[i], buckets[i] = take_buckets(
            sections, f"{i + 2}-grams", count, header.probing_multiplier, bucket_units
        )
    units = sections.file[: sections.position]
    return ProbingTables(
        units.view(np.uint32), units.view(np.float32), unigrams // 4, begins, buckets
    )


@kernel
def look_up(tables: ProbingTables, queries: Queries, matches: Matches) -> None:
    """Answer queries, a block of them at a time and order by order.

    What a step looks at was asked of the memory while the step before went through the block.
    """
    block = _Block(
        np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.int64)
    )
    top = len(tables.begins)
    for begin in range(0, len(queries.words), _BLOCK):
        end = min(begin + _BLOCK, len(queries.words))
        for i in range(begin, end):
            prefetch(tables.units, _unigram(tables, queries.words[i]))
        remaining = _take_unigrams(tables, queries, matches, block, begin, end)
        for k in range(1, top):
            table = _table(tables, k, KEY_UNITS + 2)
            _seek(table, queries, block, k, remaining)
            remaining = _take_middle(tables, table, queries, matches, block, k, remaining)
        table = _table(tables, top, KEY_UNITS + 1)
        _seek(table, queries, block, top, remaining)
        _take_longest(tables, table, matches, block, remaining)


@inline
def _unigram(tables: ProbingTables, word: Any) -> int:
    return tables.unigrams + 2 * i64(word)


@inline
def _table(tables: ProbingTables, k: int, bucket_units: int) -> HashTable:
    """The table of n-grams with k words of context."""
    begin, buckets = tables.begins[k - 1], tables.buckets[k - 1]
    end = begin + i64(buckets) * bucket_units
    return HashTable(tables.units, begin, end, bucket_units, buckets)


@inline
def _take_unigrams(
    tables: ProbingTables, queries: Queries, matches: Matches, block: _Block, begin: int, end: int
) -> int:
    """Answer with unigrams; collect the words that may end longer n-grams, return how many."""
    remaining = 0
    for i in range(begin, end):
        word = queries.words[i]
        at = _unigram(tables, word)
        matches.orders[i] = 1
        matches.log10_probs[i] = -abs(tables.floats[at])
        matches.log10_backoffs[i, 0] = tables.floats[at + 1]
        if tables.units[at] < _SIGN and queries.lengths[i] > 0:
            block.positions[remaining] = i
            block.keys[remaining] = u64(word)
            remaining += 1
    return remaining


@inline
def _seek(table: HashTable, queries: Queries, block: _Block, k: int, remaining: int) -> None:
    """Extend keys by the k-th word before, and ask the memory for their homes."""
    for a in range(remaining):
        word = queries.contexts[queries.ends[block.positions[a]] - k]
        key = (block.keys[a] * _HASH_MULTIPLIER) ^ ((u64(word) + ONE) * _WORD_MULTIPLIER)
        block.keys[a] = key
        block.homes[a] = home(table, key)
        prefetch(table.units, block.homes[a])


@inline
def _take_middle(
    tables: ProbingTables,
    table: HashTable,
    queries: Queries,
    matches: Matches,
    block: _Block,
    k: int,
    remaining: int,
) -> int:
    """Answer with n-grams of k words of context where they exist; keep what may be longer."""
    kept = 0
    for a in range(remaining):
        at = find(table, block.keys[a], block.homes[a])
        if at < 0:
            continue
        i = block.positions[a]
        matches.orders[i] = k + 1
        matches.log10_probs[i] = -abs(tables.floats[at + KEY_UNITS])
        matches.log10_backoffs[i, k] = tables.floats[at + KEY_UNITS + 1]
        if tables.units[at + KEY_UNITS] < _SIGN and queries.lengths[i] > k:
            block.positions[kept] = i
            block.keys[kept] = block.keys[a]
            kept += 1
    return kept


@inline
def _take_longest(
    tables: ProbingTables, table: HashTable, matches: Matches, block: _Block, remaining: int
) -> None:
    """Answer with n-grams of the top order where they exist."""
    for a in range(remaining):
        at = find(table, block.keys[a], block.homes[a])
        if at >= 0:
            i = block.positions[a]
            matches.orders[i] = len(tables.begins) + 1
            matches.log10_probs[i] = tables.floats[at + KEY_UNITS]
