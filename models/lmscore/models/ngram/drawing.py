"""Next words of an n-gram model without its whole distribution.

After a state, a word has its unigram probability times the state's back-off weights, unless it is
one of the few that follow the state or one of its suffixes. So sums of probabilities by id are sums
over unigrams, which are the same for all states, plus what those few change. Log-probabilities are
those of the whole distribution to the last bit: the same sums in the same order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
from lmscore.models.ngram.distribution import suffix_chain
from lmscore.models.ngram.results import LN10

_NONE = -1
_AHEAD = 16  # words whose entries are asked for before they are needed


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
    weights: NDArray[np.float64]  # (vocabulary,) beyond the unigrams' share, in the drawing

    @classmethod
    def of(cls, vocabulary_size: int) -> Excess:
        """Memory for as many words as there are."""
        shape = (3, vocabulary_size)
        return cls(np.empty(shape, np.int64), np.empty(shape, np.float32), np.empty(shape[1]))


def unigram_sums(unigrams: NDArray[np.float32], temperature: float) -> UnigramSums:
    """Of unigrams in log10; a word that is impossible counts nothing."""
    sharpness, largest = 1.0 / temperature, float(unigrams.max())
    with np.errstate(under="ignore"):
        weights = np.exp((unigrams.astype(np.float64) - largest) * (LN10 * sharpness))
    return UnigramSums(sharpness, largest, np.cumsum(weights))


def by_probability(unigrams: NDArray[np.float32]) -> NDArray[np.int64]:
    """The ids, the likeliest first, of equal ones the lower id first: (vocabulary,)."""
    return np.argsort(-unigrams, kind="stable")


@kernel
def draw_words(
    entries: Entries,
    children: Children,
    unigrams: NDArray[np.float32],
    unigram_sums: UnigramSums,
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
    for i in range(states.size):
        length = suffix_chain(entries, states[i], chain, backoffs)
        side, count = _collect(
            entries, children, unigrams.size, chain, backoffs, length, excluded[i], excess
        )
        words[i] = _draw(unigram_sums, backoffs, length, excess, side, count, uniforms[i])
        log_probs[i] = _log_prob(unigrams, backoffs, length, excess, side, count, words[i])


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
        side, count = _collect(
            entries, children, unigrams.size, chain, backoffs, length, excluded[i], excess
        )
        best, word = np.float32(-np.inf), i64(_NONE)
        for j in range(count):
            if excess.values[side, j] > best:
                best, word = excess.values[side, j], excess.words[side, j]
        for j in range(order.size):
            value = _backed_off(unigrams[order[j]], backoffs, length)
            if value < best or value == -np.inf:
                break
            if (value > best or order[j] < word) and _place(excess, side, count, order[j]) < 0:
                best, word = value, order[j]
        words[i] = word
        log_probs[i] = np.float64(best) * LN10


@inline
def _backed_off(value: Any, backoffs: NDArray[np.float32], length: int) -> Any:
    """A log10 probability of a suffix, so many tokens longer."""
    for k in range(length):
        value += backoffs[length - 1 - k]
    return value


@kernel
def _collect(
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


@kernel
def _draw(
    unigram_sums: UnigramSums,
    backoffs: NDArray[np.float32],
    length: int,
    excess: Excess,
    side: int,
    count: int,
    uniform: float,
) -> int:
    sums = unigram_sums.sums
    scale = LN10 * unigram_sums.sharpness
    # Weights are relative to the largest, so that none overflows and not all underflow.
    unigram = np.float64(_backed_off(np.float32(0), backoffs, length)) + unigram_sums.largest
    peak = unigram
    for j in range(count):
        peak = max(peak, np.float64(excess.values[side, j]))
    share = np.exp((unigram - peak) * scale)
    total = share * sums[sums.size - 1]
    for j in range(count):
        excess.weights[j] = _excess_of(sums, share, scale, peak, excess, side, j)
        total += excess.weights[j]
    goal = uniform * total
    more = 0.0  # what the words so far have beyond their unigrams' share
    first = i64(0)  # the first word after the last one of the list
    for j in range(count):
        word = excess.words[side, j]
        if word > first and share * sums[word - 1] + more > goal:
            return _first_above(sums, (goal - more) / share, first, word)
        more += excess.weights[j]
        if share * sums[word] + more > goal and excess.values[side, j] > -np.inf:
            return word
        first = word + 1
    if first < sums.size and share * sums[sums.size - 1] + more > goal:
        return _first_above(sums, (goal - more) / share, first, i64(sums.size))
    return _last_possible(sums, share, excess, side, count)  # rounding ran past it


@inline
def _last_possible(
    sums: NDArray[np.float64], share: float, excess: Excess, side: int, count: int
) -> Any:
    """The last word that has a weight, or -1."""
    end = i64(sums.size)
    for j in range(count - 1, -1, -1):
        word = excess.words[side, j]
        if word + 1 < end and share > 0.0 and sums[end - 1] > sums[word]:
            return _first_above(sums, np.inf, word + 1, end)
        if excess.values[side, j] > -np.inf:
            return word
        end = word
    if end > 0 and share > 0.0 and sums[end - 1] > 0.0:
        return _first_above(sums, np.inf, i64(0), end)
    return i64(_NONE)


@inline
def _excess_of(
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
def _place(excess: Excess, side: int, count: int, word: int) -> Any:
    """Where a word is in the list, or -1."""
    low, high = i64(0), i64(count)
    while low < high:
        middle = (low + high) // 2
        if excess.words[side, middle] < word:
            low = middle + 1
        else:
            high = middle
    return low if low < count and excess.words[side, low] == word else i64(_NONE)


@inline
def _log_prob(
    unigrams: NDArray[np.float32],
    backoffs: NDArray[np.float32],
    length: int,
    excess: Excess,
    side: int,
    count: int,
    word: int,
) -> Any:
    if word < 0:
        return -np.inf
    place = _place(excess, side, count, word)
    if place >= 0:
        return np.float64(excess.values[side, place]) * LN10
    return np.float64(_backed_off(unigrams[word], backoffs, length)) * LN10
