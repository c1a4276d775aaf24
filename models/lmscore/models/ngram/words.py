"""Words in raw bytes: where they are, their hashes, and a table that finds their ids.

Words are separated by NUL, tab, line feed, carriage return and space, as KenLM separates them,
and by nothing else: a no-break space or a vertical tab is part of a word.

The table is open addressed with linear probing. A slot is 64 bits: the upper ones of the word's
hash, and in the lower ones, as many as the number of words needs, its id + 1; an empty slot is 0.
The home of a hash is (upper 32 bits * homes) >> 32. The hash takes a word eight bytes at a time.
A word that is not in the table is mistaken for one that is with probability below 1e-12.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import (
    ONE,
    ZERO,
    i64,
    inline,
    kernel,
    load_u64,
    trailing_zeros,
    u64,
)

HASH_MULTIPLIER: Any = np.uint64(0x9FB21C651E98DF25)  # odd: two words of 8 bytes never collide
EACH_BYTE_HIGH_BIT: Any = np.uint64(0x8080808080808080)
EACH_BYTE_AFTER_SPACE: Any = np.uint64(0x2121212121212121)
SEPARATORS: Any = np.uint64(1 << 0 | 1 << 9 | 1 << 10 | 1 << 13 | 1 << 32)  # bit b: byte b is one


class WordTable(NamedTuple):
    """Ids by word."""

    slots: NDArray[np.uint64]  # (homes + a few for what overflows the last one,)
    parameters: NDArray[np.uint64]  # (homes, mask of the id bits, seed of the hash, words)


class DuplicateWordError(ValueError):
    """Two words are the same; first and second are their positions in the list."""

    def __init__(self, first: int, second: int) -> None:
        self.first = first
        self.second = second
        super().__init__(f"words {first} and {second} are the same")


def pool_words(words: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Words as one array of bytes, and where each begins (and the last ends)."""
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    return np.frombuffer(b"".join(words), np.uint8), np.concatenate(([0], np.cumsum(lengths)))


def build_word_table(
    pool: NDArray[np.uint8], offsets: NDArray[np.int64], ids: NDArray[np.uint32], words: int
) -> WordTable:
    """The table that finds ids[i], below words, under the word pool[offsets[i]:offsets[i + 1]].

    Raises DuplicateWordError.
    """
    homes = max(2 * len(ids), 8)
    mask = (1 << words.bit_length()) - 1
    for seed in range(1, 100):
        slots = np.zeros(homes + 64, np.uint64)
        parameters = np.array([homes, mask, seed * 0x9E3779B97F4A7C15 % 2**64, words], np.uint64)
        table = WordTable(slots, parameters)
        first, second = _fill(table, pool, offsets, ids)
        if first < 0:
            slots.flags.writeable = parameters.flags.writeable = False  # as in a mapped file
            return table
        if second < 0:
            continue
        begin, end = offsets[first], offsets[first + 1]
        if pool[begin:end].tobytes() == pool[offsets[second] : offsets[second + 1]].tobytes():
            raise DuplicateWordError(first, second)
    raise AssertionError("two words have collided under a hundred seeds")


@inline
def control_flags(chunk: Any) -> Any:
    """The high bit of every byte that is at most a space, in a number of eight bytes."""
    return ~((chunk | EACH_BYTE_HIGH_BIT) - EACH_BYTE_AFTER_SPACE) & ~chunk & EACH_BYTE_HIGH_BIT


@inline
def is_separator(byte: Any) -> Any:
    """Whether a byte stands between words."""
    return byte <= 32 and (SEPARATORS >> u64(byte)) & ONE != ZERO


@inline
def skip_separators(data: NDArray[np.uint8], position: int, end: int) -> int:
    """The next position that is not a separator, or end."""
    while position < end and is_separator(data[position]):
        position += 1
    return position


@inline
def hash_word(data: NDArray[np.uint8], begin: int, end: int, seed: Any) -> tuple[Any, int]:
    """Hash of the word that starts at begin, and where it stops, at end at the latest."""
    value = seed
    position = begin
    while True:
        chunk = _load(data, position, end)
        flags = control_flags(chunk)
        while flags != ZERO:
            length = trailing_zeros(flags) >> u64(3)
            if (SEPARATORS >> ((chunk >> (length << u64(3))) & u64(63))) & ONE != ZERO:
                if length != ZERO:
                    value = _mix(value, chunk & ((ONE << (length << u64(3))) - ONE))
                return value, position + i64(length)
            flags &= flags - ONE  # another control character, part of the word
        value = _mix(value, chunk)
        position += 8


@inline
def _load(data: NDArray[np.uint8], position: int, end: int) -> Any:
    """The eight bytes from position on; those from end on are zero, a separator."""
    remaining = end - position
    if remaining >= 8:
        return load_u64(data, position)
    if position + 8 <= data.size:
        return load_u64(data, position) & ((ONE << u64(remaining * 8)) - ONE)
    chunk = ZERO
    for i in range(remaining):
        chunk |= u64(data[position + i]) << u64(8 * i)
    return chunk


@inline
def _mix(value: Any, chunk: Any) -> Any:
    value = (value ^ chunk) * HASH_MULTIPLIER
    return value ^ (value >> u64(32))


@inline
def home_slot(table: WordTable, value: Any) -> Any:
    """Where the search for a hash begins."""
    return ((value >> u64(32)) * table.parameters[0]) >> u64(32)


@inline
def find_word(table: WordTable, value: Any) -> int:
    """Id of the word with a hash, or -1; below the number of words whatever the table holds."""
    id_mask = table.parameters[1]
    for i in range(i64(home_slot(table, value)), table.slots.size):
        slot = table.slots[i]
        if slot == ZERO:
            return -1
        if (slot ^ value) & ~id_mask == ZERO:
            found = slot & id_mask
            return i64(found) - 1 if found <= table.parameters[3] else -1
    return -1


@kernel
def _fill(
    table: WordTable,
    pool: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    ids: NDArray[np.uint32],
) -> tuple[int, int]:
    """Enter all words, or say why not.

    (-1, -1) on success, the positions of two words that cannot be told apart, or (position, -1)
    of a word that found no place.
    """
    id_mask = table.parameters[1]
    for i in range(ids.size):
        value = hash_word(pool, offsets[i], offsets[i + 1], table.parameters[2])[0]
        found = find_word(table, value)
        if found >= 0:
            for earlier in range(i):
                if ids[earlier] == found:
                    return earlier, i
        at = i64(home_slot(table, value))
        while at < table.slots.size and table.slots[at] != ZERO:
            at += 1
        if at == table.slots.size:
            return i, -1
        table.slots[at] = (value & ~id_mask) | (u64(ids[i]) + ONE)
    return -1, -1
