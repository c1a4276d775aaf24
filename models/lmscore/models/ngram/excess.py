"""Words that do not have their unigram's share after a state.

After a state, a word has its unigram probability times the state's back-off weights, unless it is
one of the few that follow the state or one of its suffixes. So sums of probabilities by id are sums
over unigrams, which are the same for all states, plus what those few change.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import i64, inline, kernel, prefetch, u64
from lmscore.models.ngram.automaton import (
    BUCKET_FIELDS,
    LOG10_PROB,
    ORDER,
    Children,
    Entries,
    field_of,
    find,
    length_of,
    probe,
)
from lmscore.models.ngram.children import list_of, take_number
from lmscore.models.ngram.results import LN10

_AHEAD = 16  # words whose entries are asked for before they are needed
_NONE = -1


class UnigramSums(NamedTuple):
    """What drawing at one temperature needs of the unigrams."""

    sharpness: float  # 1 / temperature
    largest: float  # log10 probability of the likeliest unigram
    sums: NDArray[np.float64]  # (vocabulary,) up to each id, of (prob / largest's) ** sharpness


class Excess(NamedTuple):
    """The words after a state that do not have their unigram's share, by id.

    The first two lists take turns in holding them; the third holds what is merged into them.
    """

    words: NDArray[np.int64]  # (3, vocabulary)
    values: NDArray[np.float32]  # (3, vocabulary) log10; -inf: excluded
    weights: NDArray[np.float64]  # (vocabulary,) beyond what they would have, in the drawing
    ranks: NDArray[np.int64]  # (vocabulary,) where they would be in the list of a base

    @classmethod
    def of(cls, vocabulary_size: int) -> Excess:
        """Memory for as many words as there are."""
        shape = (3, vocabulary_size)
        lists = np.empty(shape, np.int64), np.empty(shape, np.float32)
        return cls(*lists, np.empty(vocabulary_size), np.empty(vocabulary_size, np.int64))


Memory: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float32], Excess]
"""For work: a chain of suffixes, (order + 1,), their back-off weights, and a list of words."""


def unigram_sums(unigrams: NDArray[np.float32], temperature: float) -> UnigramSums:
    """Of unigrams in log10; a word that is impossible counts nothing."""
    sharpness, largest = 1.0 / temperature, float(unigrams.max())
    with np.errstate(under="ignore"):
        weights = np.exp((unigrams.astype(np.float64) - largest) * (LN10 * sharpness))
    return UnigramSums(sharpness, largest, np.cumsum(weights))


@inline
def backed_off(value: Any, backoffs: NDArray[np.float32], length: int) -> Any:
    """A log10 probability of a suffix, so many tokens longer."""
    for k in range(length):
        value += backoffs[length - 1 - k]
    return value


@kernel
def collect(
    entries: Entries,
    children: Children,
    vocabulary_size: int,
    chain: NDArray[np.int64],
    backoffs: NDArray[np.float32],
    length: int,
    excluded: NDArray[np.int64],
    excess: Excess,
) -> tuple[int, int]:
    """Fill in one side of excess; which, and with how many words."""
    side, count = 0, 0
    for k in range(length - 1, -1, -1):
        for j in range(count):
            excess.values[side, j] += backoffs[k]
        count = _merge_followers(entries, children, vocabulary_size, chain[k], excess, side, count)
        side = 1 - side
    count = _merge_excluded(excluded, vocabulary_size, excess, side, count)
    return 1 - side, count


@kernel
def _merge_followers(
    entries: Entries,
    children: Children,
    vocabulary_size: int,
    state: int,
    excess: Excess,
    side: int,
    count: int,
) -> int:
    """Merge a list with the words that follow a state, which go over it, into the other side."""
    length = length_of(entries, state, i64(entries.parameters[ORDER])) + 1
    place, last = list_of(children, state)
    word, more = i64(0), 0
    while place < last:
        step, place = take_number(children.data, place)
        word += step
        if word >= vocabulary_size or (more > 0 and step == 0):
            break  # a damaged file
        excess.words[2, more] = word
        more += 1
    for j in range(more):
        if j + _AHEAD < more:
            bucket = probe(entries, length, state, excess.words[2, j + _AHEAD])[0]
            prefetch(entries.slots, bucket * u64(BUCKET_FIELDS))
        bucket, check = probe(entries, length, state, excess.words[2, j])
        slot = find(entries, length, bucket, check)
        excess.values[2, j] = -abs(entries.values[field_of(slot, LOG10_PROB)])
    return _merge(excess, side, count, more)


@kernel
def _merge_excluded(
    excluded: NDArray[np.int64], vocabulary_size: int, excess: Excess, side: int, count: int
) -> int:
    """The same with words that cannot be chosen."""
    more = 0
    for i in range(excluded.size):
        word = excluded[i]
        if 0 <= word < vocabulary_size and (more == 0 or excess.words[2, more - 1] != word):
            excess.words[2, more] = word
            excess.values[2, more] = -np.inf
            more += 1
    return _merge(excess, side, count, more)


@inline
def _merge(excess: Excess, side: int, count: int, more: int) -> Any:
    """Merge a side with the last list, which goes over it, into the other; its length."""
    other = 1 - side
    at, end = 0, 0
    for j in range(more):
        word = excess.words[2, j]
        while at < count and excess.words[side, at] < word:
            excess.words[other, end] = excess.words[side, at]
            excess.values[other, end] = excess.values[side, at]
            at += 1
            end += 1
        if at < count and excess.words[side, at] == word:
            at += 1
        excess.words[other, end] = word
        excess.values[other, end] = excess.values[2, j]
        end += 1
    while at < count:
        excess.words[other, end] = excess.words[side, at]
        excess.values[other, end] = excess.values[side, at]
        at += 1
        end += 1
    return end


@inline
def excess_of(
    sums: NDArray[np.float64],
    share: float,
    scale: float,
    peak: float,
    excess: Excess,
    side: int,
    j: int,
) -> Any:
    """What a word of the list has beyond its unigram's share; negative if it has less."""
    word = excess.words[side, j]
    unigram = sums[word] - sums[word - 1] if word > 0 else sums[0]
    return np.exp((np.float64(excess.values[side, j]) - peak) * scale) - share * unigram


@inline
def place_of(excess: Excess, side: int, count: int, word: int) -> Any:
    """Where a word is in the list, or -1."""
    low, high = i64(0), i64(count)
    while low < high:
        middle = (low + high) // 2
        if excess.words[side, middle] < word:
            low = middle + 1
        else:
            high = middle
    return low if low < count and excess.words[side, low] == word else i64(_NONE)
