"""The back-off automaton in flat arrays: its layout, and how an n-gram is found in it.

Every n-gram has a slot; the number of its slot, from 0, is also the number of the state in which
it is the context. State 0 is the empty context, state 1 + w the word w, and longer n-grams follow
by length, so that a state's number tells its length. All suffixes and prefixes of an n-gram are
there too: those that a model lacks are blanks, with a back-off of 0 and the probability that
backing off gives.

Four slots make a bucket of 64 bytes, one cache line, field by field:

    check u32 * 4, log10 probability f32 * 4, log10 back-off f32 * 4, link u32 * 4

- check: 0 in an empty slot; what the search for an n-gram of two or more words compares.
- probability: its magnitude; the sign bit is set if the n-gram is a state of its own, that is, if
  some n-gram continues it or its back-off is not 0. If it is not, reaching it leads to its link.
- link: the longest proper suffix that is a state of its own, where backing off leads.

The n-grams of one length (a level) are a hash table whose key is the state of their prefix, from
the start of its level, and their last word. A key of key_bits bits is mixed into another number
of as many bits; its home bucket is (upper 32 bits * homes) >> 32, and check holds, plus 1, its low
remainder_bits bits, and above them how many buckets beyond its home it lies: that is enough to
tell every key from every other. Keys lie in the order of home, then of falling remainder, so
that check falls within a bucket, and a search may stop at a bucket whose last check is lower
than the one it is looking for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import ONE, ZERO, inline, u64

BUCKET_FIELDS = 16  # numbers of 32 bits
CHECK, LOG10_PROB, LOG10_BACKOFF, LINK = 0, 4, 8, 12  # where the four of a field begin
ROOT = 0  # the state of the empty context
STATE_BIT: Any = np.uint32(1 << 31)

# Columns of levels.
START, FIRST_BUCKET, HOMES, END_BUCKET, REMAINDER_BITS = range(5)
LEVEL_COLUMNS = 5
# Places in parameters.
ORDER, VOCABULARY_SIZE, WORD_BITS, KEY_BITS = range(4)
PARAMETER_COUNT = 4

KEY_MULTIPLIERS: tuple[Any, Any] = (
    np.uint64(0xD6E8FEB86659FD93),
    np.uint64(0x9E3779B97F4A7C15),
)


class Entries(NamedTuple):
    """All n-grams of a model."""

    slots: NDArray[np.uint32]  # (buckets * 16,)
    values: NDArray[np.float32]  # the same memory as floats
    levels: NDArray[np.uint64]  # (order + 2, 5) by length from 0; START of the last is the end
    parameters: NDArray[np.uint64]  # (4,)

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return int(self.parameters[ORDER])


class Children(NamedTuple):
    """The words that may follow each state, as bytes.

    For each state, in turn: the length in bytes of its list, then the list, the first word and
    after it the differences of rising words, all as LEB128 numbers. groups[i] is where state 64 * i
    begins.
    """

    groups: NDArray[np.uint64]  # (states / 64 rounded up, + 1)
    data: NDArray[np.uint8]


@inline
def field_of(state: Any, field: int) -> Any:
    """Where a field of a state's slot is, in slots and values."""
    state = u64(state)
    return (state >> u64(2)) * u64(BUCKET_FIELDS) + u64(field) + (state & u64(3))


@inline
def probe(entries: Entries, length: int, prefix: Any, word: Any) -> tuple[Any, Any]:
    """Home bucket and check of the n-gram of a length that is a state and one more word."""
    parameters = entries.parameters
    level = entries.levels[u64(length)]
    start = entries.levels[u64(length - 1), START]
    key = ((u64(prefix) - start) << parameters[WORD_BITS]) | u64(word)
    home, remainder = home_and_remainder(
        key, parameters[KEY_BITS], level[HOMES], level[REMAINDER_BITS]
    )
    return level[FIRST_BUCKET] + home, remainder + ONE


@inline
def home_and_remainder(key: Any, key_bits: Any, homes: Any, remainder_bits: Any) -> tuple[Any, Any]:
    """The two numbers that a key is told by; key_bits is from 32 to 63."""
    mask = (ONE << key_bits) - ONE
    mixed = (key * KEY_MULTIPLIERS[0]) & mask
    mixed ^= mixed >> (key_bits >> ONE)
    mixed = (mixed * KEY_MULTIPLIERS[1]) & mask
    home = ((mixed >> (key_bits - u64(32))) * homes) >> u64(32)
    return home, mixed & ((ONE << remainder_bits) - ONE)


def remainder_bits(homes: int, key_bits: int) -> int:
    """Bits that tell apart the keys of one home."""
    spread = -(-(1 << 32) // homes)  # numbers of 32 bits that share a home
    return key_bits - 32 + (spread - 1).bit_length()


@inline
def find(entries: Entries, length: int, bucket: Any, check: Any) -> Any:
    """The state with the bucket and check that probe gave, or ROOT if there is none."""
    slots = entries.slots
    end = entries.levels[length, END_BUCKET]
    step = ONE << entries.levels[length, REMAINDER_BITS]
    while bucket < end:
        base = bucket * u64(BUCKET_FIELDS)
        for lane in range(4):
            if u64(slots[base + u64(lane)]) == check:
                return bucket * u64(4) + u64(lane)
        if u64(slots[base + u64(3)]) <= check:
            break
        bucket += ONE
        check += step
    return ZERO


@inline
def length_of(entries: Entries, state: Any, at_most: int) -> int:
    """Length of the context that a state is, given a bound on it."""
    length = at_most
    while length > 0 and entries.levels[u64(length), START] > u64(state):
        length -= 1
    return length
