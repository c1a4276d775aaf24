"""Building the automaton from a table of n-grams.

Level by level: the prefix and the suffix of every n-gram are looked up among the shorter ones,
which also gives its key; then the slots of the level are filled in the order of their keys.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import ONE, i64, inline, kernel, prefetch, u64
from lmscore.models.ngram.automaton import (
    BUCKET_FIELDS,
    CHECK,
    END_BUCKET,
    FIRST_BUCKET,
    HOMES,
    KEY_BITS,
    LEVEL_COLUMNS,
    LINK,
    LOG10_BACKOFF,
    LOG10_PROB,
    ORDER,
    PARAMETER_COUNT,
    REMAINDER_BITS,
    ROOT,
    START,
    STATE_BIT,
    VOCABULARY_SIZE,
    WORD_BITS,
    Children,
    Entries,
    field_of,
    find,
    probe,
    remainder_bits,
)
from lmscore.models.ngram.children import ChildrenBuilder
from lmscore.models.ngram.closure import with_blanks
from lmscore.models.ngram.grouping import group_rows
from lmscore.models.ngram.table import NgramTable, OrderTable

_FULL = 0.78  # share of the slots in use: more would make searches longer, less the file larger
_ROWS_AT_ONCE = 64  # looked up together, so that they wait for memory together


class DuplicateEntryError(ValueError):
    """An n-gram is in the table twice; length, and row of the later one."""

    def __init__(self, length: int, row: int) -> None:
        self.length = length
        self.row = row
        super().__init__(f"row {row} of the {length}-grams repeats an earlier one")


class _MissingAffixError(Exception):
    """A prefix or suffix of an n-gram is not in the table."""


def build_automaton(
    table: NgramTable,
) -> tuple[Entries, Children, NDArray[np.uint32]]:
    """Entries, children, and the old id of every new one: new ids go by falling probability.

    Raises DuplicateEntryError.
    """
    by_probability = np.argsort(-table.orders[0].log10_probs, kind="stable").astype(np.uint32)
    old_ids = table.orders[0].ids[by_probability, 0]
    new_ids = np.empty(len(old_ids), np.uint32)
    new_ids[old_ids] = np.arange(len(old_ids), dtype=np.uint32)
    if len(np.unique(old_ids)) < len(old_ids):
        raise DuplicateEntryError(1, _first_repeated(table.orders[0].ids[:, 0]))
    try:
        entries, children = _build(table, by_probability, new_ids)
    except _MissingAffixError:
        entries, children = _build(with_blanks(table), by_probability, new_ids)
    return entries, children, old_ids


def _first_repeated(ids: NDArray[np.uint32]) -> int:
    first = np.unique(ids, return_index=True)[1]
    return int(np.setdiff1d(np.arange(len(ids)), first)[0])


def _build(
    table: NgramTable, by_probability: NDArray[np.uint32], new_ids: NDArray[np.uint32]
) -> tuple[Entries, Children]:
    entries = _room_for(table)
    _fill_unigrams(entries, table.orders[0], by_probability)
    continued = np.zeros(len(entries.slots) // 4, np.bool_)  # by state: is it the prefix of any?
    children = ChildrenBuilder()
    buckets, checks = np.empty(_ROWS_AT_ONCE, np.uint64), np.empty(_ROWS_AT_ONCE, np.uint64)
    end = 4 * int(entries.levels[1, END_BUCKET])
    for length, level in enumerate(table.orders[1:], 2):
        prefixes = np.empty(len(level), np.uint32)
        suffixes = np.empty(len(level), np.uint32)
        _begin_level(entries, length, end, len(level))
        if not _find_affixes(
            entries, level.ids, new_ids, continued, prefixes, suffixes, buckets, checks
        ):
            raise _MissingAffixError
        last_words = new_ids[level.ids[:, -1]]
        end = _fill_level(entries, length, level, last_words, prefixes, suffixes)
        start = entries.levels[length - 1 : length + 1, START].tolist()
        children.add_level(start[0], start[1], prefixes, last_words)
        del prefixes, suffixes, last_words
    entries.levels[-1, START] = end
    _link_states(entries, continued)
    used = slice(end * BUCKET_FIELDS // 4)
    entries = entries._replace(slots=entries.slots[used], values=entries.values[used])
    return entries, children.finish()


def _room_for(table: NgramTable) -> Entries:
    """Entries with empty slots; pages that are never touched take no memory."""
    counts = [len(level) for level in table.orders]
    words = counts[0]
    word_bits = max((words - 1).bit_length(), 1)
    buckets = [words // 4 + 1, *(2 * _homes(count, 0) + 64 for count in counts[1:])]
    # Levels are padded by far less than this, so that states fit where their numbers are packed.
    key_bits = max(32, (4 * max(buckets)).bit_length() + word_bits)
    if key_bits > 63 or 4 * sum(buckets) >= 1 << 32:
        raise OverflowError(f"{sum(counts)} n-grams over {words} words are too many")
    slots = _lines(sum(buckets) + 1)
    levels = np.zeros((table.order + 2, LEVEL_COLUMNS), np.uint64)
    levels[1, START] = 1
    levels[1, END_BUCKET] = buckets[0]
    parameters = np.zeros(PARAMETER_COUNT, np.uint64)
    parameters[ORDER] = table.order
    parameters[VOCABULARY_SIZE] = words
    parameters[WORD_BITS] = word_bits
    parameters[KEY_BITS] = key_bits
    return Entries(slots, slots.view(np.float32), levels, parameters)


def _lines(buckets: int) -> NDArray[np.uint32]:
    """Zeros for buckets, each of them a whole cache line."""
    room = np.zeros((buckets + 1) * BUCKET_FIELDS, np.uint32)
    skipped = -(room.ctypes.data // room.itemsize) % BUCKET_FIELDS
    return room[skipped : skipped + buckets * BUCKET_FIELDS]


def _homes(count: int, key_bits: int) -> int:
    """Home buckets of a level: enough for its n-grams, and for remainders of 26 bits at most."""
    return max(int(count / (4 * _FULL)) + 1, 1 << max(key_bits - 26, 0))


def _fill_unigrams(
    entries: Entries, unigrams: OrderTable, by_probability: NDArray[np.uint32]
) -> None:
    states = np.arange(1, len(unigrams) + 1)
    base = states // 4 * BUCKET_FIELDS + states % 4
    entries.values[base + LOG10_PROB] = unigrams.log10_probs[by_probability]
    entries.values[base + LOG10_BACKOFF] = unigrams.log10_backoffs[by_probability]


def _begin_level(entries: Entries, length: int, start: int, count: int) -> None:
    """Lay out the level of a length from a state on, the first of its bucket."""
    level = entries.levels[length]
    homes = _homes(count, int(entries.parameters[KEY_BITS]))
    first = start // 4
    level[START] = first * 4
    level[FIRST_BUCKET] = first
    level[HOMES] = homes
    level[END_BUCKET] = first + homes
    level[REMAINDER_BITS] = remainder_bits(homes, int(entries.parameters[KEY_BITS]))


def _fill_level(
    entries: Entries,
    length: int,
    table: OrderTable,
    last_words: NDArray[np.uint32],
    prefixes: NDArray[np.uint32],
    suffixes: NDArray[np.uint32],
) -> int:
    """Fill the slots of one level; the state after its last."""
    homes = np.empty(len(table), np.uint32)
    remainders = np.empty(len(table), np.uint32)
    _split_keys(entries, length, last_words, prefixes, homes, remainders)
    rows, begins = group_rows(homes, int(entries.levels[length, HOMES]))
    used, repeated = _write_slots(
        entries, length, begins, rows, remainders, table.log10_probs, table.log10_backoffs,
        prefixes, suffixes,
    )  # fmt: skip
    if repeated >= 0:
        raise DuplicateEntryError(length, repeated)
    if not used:
        raise OverflowError(f"too many {length}-grams share a bucket")
    return used


@kernel
def _find_affixes(
    entries: Entries,
    ids: NDArray[np.uint32],
    new_ids: NDArray[np.uint32],
    continued: NDArray[np.bool_],
    prefixes: NDArray[np.uint32],
    suffixes: NDArray[np.uint32],
    buckets: NDArray[np.uint64],
    checks: NDArray[np.uint64],
) -> bool:
    """States of all but the last and of all but the first word of each n-gram; False if missing.

    buckets and checks are room for as many rows as are to be looked up together.
    """
    rows, length = ids.shape
    for first in range(0, rows, buckets.size):
        last = min(first + buckets.size, rows)
        for row in range(first, last):
            prefixes[row] = new_ids[ids[row, 0]] + np.uint32(1)
            suffixes[row] = new_ids[ids[row, 1]] + np.uint32(1)
        for k in range(1, length - 1):
            for row in range(first, last):
                word = new_ids[ids[row, k]]
                _ask(entries, k + 1, prefixes[row], word, row - first, buckets, checks)
            for row in range(first, last):
                prefixes[row] = find(entries, k + 1, buckets[row - first], checks[row - first])
        if length > 2:
            for row in range(first, last):
                # Until states are linked, a link is to the whole suffix.
                suffix = entries.slots[field_of(prefixes[row], LINK)]
                word = new_ids[ids[row, length - 1]]
                _ask(entries, length - 1, suffix, word, row - first, buckets, checks)
            for row in range(first, last):
                place = row - first
                suffixes[row] = find(entries, length - 1, buckets[place], checks[place])
    return _mark_continued(prefixes, suffixes, continued)


@inline
def _mark_continued(
    prefixes: NDArray[np.uint32], suffixes: NDArray[np.uint32], continued: NDArray[np.bool_]
) -> bool:
    for row in range(prefixes.size):
        if prefixes[row] == ROOT or suffixes[row] == ROOT:
            return False
        continued[prefixes[row]] = True
    return True


@inline
def _ask(
    entries: Entries,
    length: int,
    prefix: int,
    word: int,
    place: int,
    buckets: NDArray[np.uint64],
    checks: NDArray[np.uint64],
) -> None:
    """Note where an n-gram is to be found, and ask for the line."""
    buckets[place], checks[place] = probe(entries, length, prefix, word)
    prefetch(entries.slots, buckets[place] * u64(BUCKET_FIELDS))


@kernel
def _split_keys(
    entries: Entries,
    length: int,
    last_words: NDArray[np.uint32],
    prefixes: NDArray[np.uint32],
    homes: NDArray[np.uint32],
    remainders: NDArray[np.uint32],
) -> None:
    first = entries.levels[length, FIRST_BUCKET]
    for i in range(homes.size):
        bucket, check = probe(entries, length, prefixes[i], last_words[i])
        homes[i] = bucket - first
        remainders[i] = check - ONE


@kernel
def _write_slots(
    entries: Entries,
    length: int,
    begins: NDArray[np.int64],
    rows: NDArray[np.uint32],
    remainders: NDArray[np.uint32],
    log10_probs: NDArray[np.float32],
    log10_backoffs: NDArray[np.float32],
    prefixes: NDArray[np.uint32],
    suffixes: NDArray[np.uint32],
) -> tuple[int, int]:
    """The state after the last slot, and a row that repeats another, or -1.

    The state is 0 if an n-gram lies further from home than its check can tell.
    """
    level = entries.levels[length]
    first = level[FIRST_BUCKET]
    slot = i64(0)  # from the start of the level
    for home in range(begins.size - 1):
        begin = begins[home]
        end = begins[home + 1]
        repeated = _sort_falling(rows[begin:end], remainders)
        if repeated >= 0:
            return 0, repeated
        slot = max(slot, 4 * home)
        for i in range(begin, end):
            row = rows[i]
            beyond = u64(slot // 4 - home)
            if beyond + ONE >= ONE << (u64(32) - level[REMAINDER_BITS]):
                return 0, -1
            state = first * u64(4) + u64(slot)
            check = ((beyond << level[REMAINDER_BITS]) | u64(remainders[row])) + ONE
            entries.slots[field_of(state, CHECK)] = check
            prob = log10_probs[row]
            if np.isnan(prob):  # a blank
                prob = (
                    entries.values[field_of(suffixes[row], LOG10_PROB)]
                    + entries.values[field_of(prefixes[row], LOG10_BACKOFF)]
                )
            entries.values[field_of(state, LOG10_PROB)] = prob
            entries.values[field_of(state, LOG10_BACKOFF)] = log10_backoffs[row]
            entries.slots[field_of(state, LINK)] = suffixes[row]
            slot += 1
    # What overflows the last home gets buckets of its own, and a search ends at a slot left empty.
    buckets = max(u64(slot) // u64(4) + ONE, level[HOMES])
    level[END_BUCKET] = first + buckets
    return i64((first + buckets) * u64(4)), -1


@inline
def _sort_falling(rows: NDArray[np.uint32], remainders: NDArray[np.uint32]) -> int:
    """Sort a few rows by falling remainder; one of two that have the same, or -1."""
    for i in range(1, rows.size):
        row = rows[i]
        k = i
        while k > 0 and remainders[rows[k - 1]] < remainders[row]:
            rows[k] = rows[k - 1]
            k -= 1
        if k > 0 and remainders[rows[k - 1]] == remainders[row]:
            return max(i64(row), i64(rows[k - 1]))
        rows[k] = row
    return -1


@kernel
def _link_states(entries: Entries, continued: NDArray[np.bool_]) -> None:
    """Mark the n-grams that are states of their own, and lead links to such."""
    slots, levels = entries.slots, entries.levels
    slots[field_of(ROOT, LOG10_PROB)] |= STATE_BIT
    for length in range(1, levels.shape[0] - 1):
        for state in range(i64(levels[length, START]), i64(levels[length + 1, START])):
            if length > 1 and slots[field_of(state, CHECK)] == 0:
                continue
            ahead = field_of(min(state + 16, i64(levels[length + 1, START]) - 1), LINK)
            prefetch(slots, field_of(slots[ahead], LINK))
            magnitude = slots[field_of(state, LOG10_PROB)] & ~STATE_BIT
            own = continued[state] or entries.values[field_of(state, LOG10_BACKOFF)] != 0
            slots[field_of(state, LOG10_PROB)] = magnitude | (STATE_BIT if own else np.uint32(0))
            suffix = slots[field_of(state, LINK)]
            if slots[field_of(suffix, LOG10_PROB)] & STATE_BIT == 0:
                slots[field_of(state, LINK)] = slots[field_of(suffix, LINK)]
