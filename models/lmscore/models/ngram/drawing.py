"""Next words of an n-gram model without its whole distribution.

The words that do not have their unigram's share are those that follow the state itself and its
longer suffixes, which are few and read for each draw, and those of its base, which are kept. Log-
probabilities are those of the whole distribution to the last bit: the same sums in the same order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import i64, inline, kernel
from lmscore.models.ngram.automaton import Children, Entries
from lmscore.models.ngram.base_lists import Bases
from lmscore.models.ngram.distribution import suffix_chain
from lmscore.models.ngram.excess import Excess, UnigramSums, backed_off, collect, place_of
from lmscore.models.ngram.results import LN10

_NONE = -1


def by_probability(unigrams: NDArray[np.float32]) -> NDArray[np.int64]:
    """The ids, the likeliest first, of equal ones the lower id first: (vocabulary,)."""
    return np.argsort(-unigrams, kind="stable")


@kernel
def draw_words(
    entries: Entries,
    children: Children,
    unigrams: NDArray[np.float32],
    unigram_sums: UnigramSums,
    bases: Bases,
    states: NDArray[np.uint32],
    excluded: NDArray[np.int64],  # (states, most) sorted, negative ones mean nothing
    uniforms: NDArray[np.float64],  # (states,)
    chain: NDArray[np.int64],
    backoffs: NDArray[np.float32],
    excess: Excess,
    words: NDArray[np.int64],  # (states,) filled in: -1 if no word is possible
    log_probs: NDArray[np.float64],  # (states,) filled in: nats
) -> None:
    """The first word of each state at which the sum by id exceeds its uniform number."""
    scale = LN10 * unigram_sums.sharpness
    for i in range(states.size):
        length = suffix_chain(entries, states[i], chain, backoffs)
        level, number = bases.levels[i], bases.numbers[i]
        side, count = collect(
            entries, children, unigrams.size, chain, backoffs, level, excluded[i], excess
        )
        below = bases.peaks[number] + np.float64(backed_off(np.float32(0), backoffs, level))
        # Weights are relative to the largest, so that none overflows and not all underflow.
        peak = below
        for j in range(count):
            peak = max(peak, np.float64(excess.values[side, j]))
        factor = np.exp((below - peak) * scale)
        mass = _Mass(
            unigram_sums.sums, factor * bases.shares[number], bases.words, bases.values, bases.sums,
            factor, bases.spans[number, 0], bases.spans[number, 1],
        )  # fmt: skip
        words[i] = _draw(mass, excess, side, count, peak, scale, uniforms[i])
        log_probs[i] = _log_prob(
            mass, unigrams, backoffs, length, level, excess, side, count, words[i]
        )


@kernel
def likeliest_words(
    entries: Entries,
    children: Children,
    unigrams: NDArray[np.float32],
    order: NDArray[np.int64],  # what by_probability gives
    states: NDArray[np.uint32],
    excluded: NDArray[np.int64],
    chain: NDArray[np.int64],
    backoffs: NDArray[np.float32],
    excess: Excess,
    words: NDArray[np.int64],
    log_probs: NDArray[np.float64],
) -> None:
    """The likeliest word of each state, of equal ones that with the lowest id."""
    for i in range(states.size):
        length = suffix_chain(entries, states[i], chain, backoffs)
        side, count = collect(
            entries, children, unigrams.size, chain, backoffs, length, excluded[i], excess
        )
        best, word = np.float32(-np.inf), i64(_NONE)
        for j in range(count):
            if excess.values[side, j] > best:
                best, word = excess.values[side, j], excess.words[side, j]
        for j in range(order.size):
            value = backed_off(unigrams[order[j]], backoffs, length)
            if value < best or value == -np.inf:
                break
            if (value > best or order[j] < word) and place_of(excess, side, count, order[j]) < 0:
                best, word = value, order[j]
        words[i] = word
        log_probs[i] = np.float64(best) * LN10


class _Mass(NamedTuple):
    """What words weigh, but for those of the excess: a unigram's share, and what a base adds."""

    unigram_sums: NDArray[np.float64]
    share: float
    base_words: NDArray[np.int32]
    base_values: NDArray[np.float32]
    base_sums: NDArray[np.float64]
    factor: float  # of the base's sums
    begin: int  # of the base's list
    end: int


@inline
def _up_to(mass: _Mass, word: int, rank: int) -> Any:
    """The sum of the words up to one; rank is the place after the last of them in the base."""
    total = mass.share * mass.unigram_sums[word] if word >= 0 else 0.0
    if rank > mass.begin:
        total += mass.factor * mass.base_sums[rank - 1]
    return total


@inline
def _rank(mass: _Mass, word: int, low: int) -> Any:
    """The place of the first word in the base's list that is not before one, from low on."""
    high = mass.end
    while low < high:
        middle = (low + high) // 2
        if mass.base_words[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low


@inline
def _after(mass: _Mass, word: int, rank: int) -> Any:
    """The rank after a word."""
    return rank + 1 if rank < mass.end and mass.base_words[rank] == word else rank


@kernel
def _draw(
    mass: _Mass,
    excess: Excess,
    side: int,
    count: int,
    peak: float,
    scale: float,
    uniform: float,
) -> int:
    size = i64(mass.unigram_sums.size)
    total = _up_to(mass, size - 1, mass.end)
    rank = i64(mass.begin)
    for j in range(count):
        word = excess.words[side, j]
        rank = _rank(mass, word, rank)
        after = _after(mass, word, rank)
        otherwise = _up_to(mass, word, after) - _up_to(mass, word - 1, rank)
        weight = np.exp((np.float64(excess.values[side, j]) - peak) * scale) - otherwise
        excess.ranks[j], excess.weights[j] = rank, weight
        total += weight
    goal = uniform * total
    more = 0.0  # what the words so far have beyond what they would have without the list
    first, rank = i64(0), i64(mass.begin)  # the first word after the last one of the list
    for j in range(count):
        word = excess.words[side, j]
        if word > first and _up_to(mass, word - 1, excess.ranks[j]) + more > goal:
            return _between(mass, goal - more, first, word, rank, excess.ranks[j])
        more += excess.weights[j]
        first, rank = word + 1, _after(mass, word, excess.ranks[j])
        if _up_to(mass, word, rank) + more > goal and excess.values[side, j] > -np.inf:
            return word
    if first < size and _up_to(mass, size - 1, mass.end) + more > goal:
        return _between(mass, goal - more, first, size, rank, i64(mass.end))
    return _last_possible(mass, excess, side, count)  # rounding ran past it


@kernel
def _between(mass: _Mass, goal: float, first: int, end: int, low: int, high: int) -> int:
    """The first of some words, none of the excess, whose sum exceeds a goal.

    Low and high are the first one's rank and the end's.
    """
    begin_rank, end_rank = low, high
    while low < high:
        middle = (low + high) // 2
        if _up_to(mass, i64(mass.base_words[middle]), middle + 1) > goal:
            high = middle
        else:
            low = middle + 1
    begin = i64(mass.base_words[low - 1]) + 1 if low > begin_rank else first
    stop = i64(mass.base_words[low]) if low < end_rank else end
    if begin < stop and _up_to(mass, stop - 1, low) > goal:
        without = goal - (mass.factor * mass.base_sums[low - 1] if low > mass.begin else 0.0)
        return _first_above(mass.unigram_sums, without / mass.share, begin, stop)
    if low < end_rank and mass.base_values[low] > -np.inf:
        return stop
    return _last_of(mass, first, end, begin_rank, end_rank)  # rounding made a sum of nothing


@kernel
def _last_possible(mass: _Mass, excess: Excess, side: int, count: int) -> int:
    """The last word that has a weight, or -1."""
    end, high = i64(mass.unigram_sums.size), i64(mass.end)
    for j in range(count - 1, -1, -1):
        word = excess.words[side, j]
        found = _last_of(mass, word + 1, end, _after(mass, word, excess.ranks[j]), high)
        if found >= 0:
            return found
        if excess.values[side, j] > -np.inf:
            return word
        end, high = word, excess.ranks[j]
    return _last_of(mass, i64(0), end, i64(mass.begin), high)


@kernel
def _last_of(mass: _Mass, first: int, end: int, low: int, high: int) -> int:
    """The last that has a weight of some words of which none is in the excess, or -1."""
    sums = mass.unigram_sums
    for rank in range(high, low - 1, -1):
        begin = i64(mass.base_words[rank - 1]) + 1 if rank > low else first
        before = sums[begin - 1] if begin > 0 else 0.0
        if begin < end and mass.share > 0.0 and sums[end - 1] > before:
            return _first_above(sums, np.inf, begin, end)
        if rank > low and mass.base_values[rank - 1] > -np.inf:
            return begin - 1
        end = begin - 1
    return i64(_NONE)


@inline
def _first_above(sums: NDArray[np.float64], goal: float, begin: int, end: int) -> Any:
    """The first of some words whose sum exceeds a goal; the last that adds to it if none does."""
    low, high = begin, end - 1
    while low < high:
        middle = (low + high) // 2
        if sums[middle] > goal:
            high = middle
        else:
            low = middle + 1
    while low > begin and sums[low] == sums[low - 1]:  # impossible words add nothing
        low -= 1
    return low


@inline
def _log_prob(
    mass: _Mass,
    unigrams: NDArray[np.float32],
    backoffs: NDArray[np.float32],
    length: int,
    level: int,
    excess: Excess,
    side: int,
    count: int,
    word: int,
) -> Any:
    if word < 0:
        return -np.inf
    place = place_of(excess, side, count, word)
    if place >= 0:
        return np.float64(excess.values[side, place]) * LN10
    rank = _rank(mass, word, i64(mass.begin))
    if _after(mass, word, rank) > rank:
        return np.float64(backed_off(mass.base_values[rank], backoffs, level)) * LN10
    return np.float64(backed_off(unigrams[word], backoffs, length)) * LN10
