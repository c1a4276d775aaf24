"""What follows states that many words follow, kept from one draw to the next.

Tens of thousands of words may follow a common one. Reading them all for each word that is drawn
after it would take most of the time; kept as running sums they are a binary search. Such a state is
the base of the longer states that end in it, whose own followers are few.

Which state is a base depends on the model alone, never on what is kept, and so do the words drawn.
"""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.ngram.automaton import ROOT, Children, Entries
from lmscore.models.ngram.children import list_of
from lmscore.models.ngram.distribution import suffix_chain
from lmscore.models.ngram.excess import Memory, UnigramSums, backed_off, collect, excess_of
from lmscore.models.ngram.results import LN10

Number = TypeVar("Number", np.int32, np.int64, np.float32, np.float64)

LEAST_BYTES = 128
"""Of a base's list of followers: fewer are read in less time than it takes to look the base up."""

MOST_WORDS = 1 << 22
"""In all lists, of 16 bytes each: what is more is forgotten, with all the rest."""

FIRST_WORDS, FIRST_LISTS = 1 << 16, 1 << 8
_NO_IDS = np.empty(0, np.int64)


class Bases(NamedTuple):
    """The bases of some states, and the lists of all bases that are known."""

    words: NDArray[np.int32]  # (words of all lists,) in order within each
    values: NDArray[np.float32]  # (words of all lists,) log10 after the base
    sums: NDArray[np.float64]  # (words of all lists,) beyond the unigrams' share, up to each word
    spans: NDArray[np.int64]  # (lists, 2) where each begins and ends
    peaks: NDArray[np.float64]  # (lists,) log10 probability of the base's likeliest word
    shares: NDArray[np.float64]  # (lists,) of the likeliest unigram's weight, beside the peak's
    numbers: NDArray[np.int64]  # (states,) which list is that of the state's base
    levels: NDArray[np.int64]  # (states,) where the base is in the chain of suffixes, or its length


class _Lists:
    """Columns of Bases that grow; what was filled in is never written again."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[float, int], int] = {}  # by sharpness and state
        self.words = np.empty(FIRST_WORDS, np.int32)
        self.values = np.empty(FIRST_WORDS, np.float32)
        self.sums = np.empty(FIRST_WORDS)
        self.spans = np.zeros((FIRST_LISTS, 2), np.int64)
        self.peaks, self.shares = np.empty(FIRST_LISTS), np.empty(FIRST_LISTS)
        self.size = 0  # in words

    def make_room(self, words: int) -> None:
        """For one more list of so many words."""
        lists = len(self.numbers)
        if lists == len(self.spans):
            self.spans = _grown(self.spans, lists, lists)
            self.peaks = _grown(self.peaks, lists, lists)
            self.shares = _grown(self.shares, lists, lists)
        if len(self.words) - self.size < words:
            more = max(len(self.words), words)
            self.words = _grown(self.words, self.size, more)
            self.values = _grown(self.values, self.size, more)
            self.sums = _grown(self.sums, self.size, more)


def _grown(column: NDArray[Number], filled: int, more: int) -> NDArray[Number]:
    """A column with more room, whose memory is not taken up before it is filled in."""
    grown = np.empty((len(column) + more, *column.shape[1:]), column.dtype)
    grown[:filled] = column[:filled]
    return grown


class BaseLists:
    """The lists of a model's bases; safe for several threads."""

    def __init__(self, entries: Entries, children: Children, vocabulary_size: int) -> None:
        self._entries, self._children = entries, children
        self._vocabulary_size = vocabulary_size
        self._lock = Lock()
        self._lists = _Lists()

    def of(
        self,
        states: NDArray[np.uint32],
        unigram_sums: UnigramSums,
        memory: Memory,
    ) -> Bases:
        """The bases of some states, read now unless they are kept."""
        levels, bases = np.empty(len(states), np.int64), np.empty(len(states), np.int64)
        model, (chain, backoffs, _) = (self._entries, self._children), memory
        find_bases(*model, states, LEAST_BYTES, chain, backoffs, levels, bases)
        with self._lock:
            if self._lists.size > MOST_WORDS:
                self._lists = _Lists()
            lists, sharpness = self._lists, unigram_sums.sharpness
            for state in bases.tolist():
                if (sharpness, state) not in lists.numbers:
                    self._read(state, unigram_sums, memory)
            numbers = [lists.numbers[sharpness, state] for state in bases.tolist()]
            return Bases(
                lists.words, lists.values, lists.sums, lists.spans, lists.peaks, lists.shares,
                np.array(numbers, np.int64), levels,
            )  # fmt: skip

    def _read(self, state: int, unigram_sums: UnigramSums, memory: Memory) -> None:
        lists, model = self._lists, (self._entries, self._children)
        lists.make_room(self._vocabulary_size)
        number, rest = len(lists.numbers), slice(lists.size, None)
        words, values, sums = lists.words[rest], lists.values[rest], lists.sums[rest]
        count, peak, share = read_base(*model, unigram_sums, state, memory, words, values, sums)
        lists.spans[number] = lists.size, lists.size + count
        lists.peaks[number], lists.shares[number] = peak, share
        lists.size += count
        lists.numbers[unigram_sums.sharpness, state] = number


@kernel
def find_bases(
    entries: Entries,
    children: Children,
    states: NDArray[np.uint32],
    least_bytes: int,
    chain: NDArray[np.int64],
    backoffs: NDArray[np.float32],
    levels: NDArray[np.int64],  # (states,) filled in, as in Bases
    bases: NDArray[np.int64],  # (states,) filled in: the longest suffix that is one, or the root
) -> None:
    """Look for the bases of states among their suffixes, the longest first."""
    for i in range(states.size):
        length = suffix_chain(entries, states[i], chain, backoffs)
        levels[i], bases[i] = length, ROOT  # which has no list
        for k in range(length):
            begin, end = list_of(children, chain[k])
            if end - begin >= least_bytes:
                levels[i], bases[i] = k, chain[k]
                break


@kernel
def read_base(
    entries: Entries,
    children: Children,
    unigram_sums: UnigramSums,
    state: int,
    memory: Memory,
    words: NDArray[np.int32],  # filled in, as values and sums
    values: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> tuple[int, float, float]:
    """Fill in a base's list; how many words it has, its peak and its share."""
    chain, backoffs, excess = memory
    scale = LN10 * unigram_sums.sharpness
    length = suffix_chain(entries, state, chain, backoffs)
    side, count = collect(
        entries, children, unigram_sums.sums.size, chain, backoffs, length, _NO_IDS, excess
    )
    unigram = np.float64(backed_off(np.float32(0), backoffs, length)) + unigram_sums.largest
    peak = unigram
    for j in range(count):
        peak = max(peak, np.float64(excess.values[side, j]))
    share = np.exp((unigram - peak) * scale)
    total = 0.0
    for j in range(count):
        total += excess_of(unigram_sums.sums, share, scale, peak, excess, side, j)
        words[j] = excess.words[side, j]
        values[j] = excess.values[side, j]
        sums[j] = total
    return count, peak, share
