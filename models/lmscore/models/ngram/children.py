"""The words that follow each state: how their lists are made and read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import allocating_kernel, i64, inline, u64
from lmscore.models.ngram.automaton import Children
from lmscore.models.ngram.grouping import group_rows

STATES_PER_GROUP = 64


class ChildrenBuilder:
    """Makes Children a level at a time, the shortest prefixes first."""

    def __init__(self) -> None:
        self._states = 0
        self._size = 0
        self._groups: list[NDArray[np.uint64]] = []
        self._data: list[NDArray[np.uint8]] = []

    def add_level(
        self, start: int, end: int, prefixes: NDArray[np.uint32], words: NDArray[np.uint32]
    ) -> None:
        """Add the pairs of prefix, a state from start to end, and word that follows it.

        Afterwards all states below end have their lists.
        """
        by_word, _ = group_rows(words, int(words.max(initial=0)) + 1)
        by_prefix, begins = group_rows(prefixes[by_word] - np.uint32(start), end - start)
        grouped = words[by_word][by_prefix]
        # A list takes at most five bytes for its length and five a word; untouched pages are free.
        room = np.empty(end - self._states + 10 * len(words), np.uint8)
        groups, size = _encode(self._states, start, begins, grouped, room)
        self._groups.append(groups + np.uint64(self._size))
        self._data.append(room[:size].copy())
        self._size += size
        self._states = end

    def finish(self) -> Children:
        """The lists of all levels."""
        groups = np.concatenate((*self._groups, np.array([self._size], np.uint64)))
        return Children(groups, np.concatenate((np.empty(0, np.uint8), *self._data)))


@allocating_kernel
def _encode(
    state: int,
    start: int,
    begins: NDArray[np.int64],
    words: NDArray[np.uint32],
    room: NDArray[np.uint8],
) -> tuple[NDArray[np.uint64], int]:
    """Write the lists of the states from state on, those before start empty.

    Returns where each state that is a multiple of 64 begins, and the bytes written.
    """
    end = start + begins.size - 1
    first = (state + STATES_PER_GROUP - 1) // STATES_PER_GROUP
    groups = np.empty((end + STATES_PER_GROUP - 1) // STATES_PER_GROUP - first, np.uint64)
    at = 0
    for i in range(state, end):
        if i % STATES_PER_GROUP == 0:
            groups[i // STATES_PER_GROUP - first] = at
        begin, stop = (begins[i - start], begins[i - start + 1]) if i >= start else (0, 0)
        length = 0
        previous = 0
        for k in range(begin, stop):
            length += _encoded_length(i64(words[k]) - previous)
            previous = i64(words[k])
        at = _put(room, at, length)
        previous = 0
        for k in range(begin, stop):
            at = _put(room, at, i64(words[k]) - previous)
            previous = i64(words[k])
    return groups, at


@inline
def _encoded_length(number: int) -> int:
    length = 1
    while number >= 128:
        number >>= 7
        length += 1
    return length


@inline
def _put(room: NDArray[np.uint8], at: int, number: int) -> int:
    while number >= 128:
        room[at] = (number & 127) | 128
        number >>= 7
        at += 1
    room[at] = number
    return at + 1


@inline
def take_number(data: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """The number that starts at a byte, and where it ends; never reads beyond the data."""
    number = 0
    shift = 0
    while at < data.size and shift < 35:
        byte = i64(data[at])
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return number, at


@inline
def list_of(children: Children, state: int) -> tuple[int, int]:
    """Where the list of a state begins and ends in the data; an empty one for states without."""
    data = children.data
    group = state // STATES_PER_GROUP
    if group + 1 >= children.groups.size:
        return 0, 0
    at = i64(min(children.groups[group], u64(data.size)))
    for _ in range(state % STATES_PER_GROUP):
        length, at = take_number(data, at)
        at = min(at + length, data.size)
    length, at = take_number(data, at)
    return at, min(at + length, data.size)
