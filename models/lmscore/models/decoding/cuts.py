"""Where to cut a row so that its k likeliest tokens, or those of some mass, stay; never sorting.

A cut is a threshold and the last id that is kept of the tokens on the threshold. Passes over the
row narrow down where the threshold is; only what is left between is partitioned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import float_bits, i64, inline, kernel, u64
from lmscore.models.decoding.weights import (
    BLOCK,
    LogProbs,
    Scratch,
    count_from,
    exp_of_negative,
    keep_from,
    sum_from,
)

EVERY_ID: Any = np.uint64(1 << 62)
"""A last id that keeps all tokens on a threshold."""

_FEW = 2048  # candidates that are taken out of the row
_VERY_FEW = 48  # candidates that are partitioned
_PASSES = 16
_TINY = 5e-324


@kernel
def kth_largest(log_probs: LogProbs, row: int, k: int, scratch: Scratch) -> tuple[float, Any]:
    """The cut behind the k likeliest tokens, for a k that is no more than there are blocks.

    At least k tokens are no less likely than the k-th highest of the blocks' maxima.
    """
    candidates, maxima = scratch.candidates, scratch.maxima
    for block in range(maxima.size):
        candidates[block] = maxima[block]
    bound = _crossing(candidates, maxima.size, float(k), True)[0]
    count = _collect(log_probs, row, bound, scratch)
    threshold, taken, present = _crossing(candidates, count, float(k), True)
    last = EVERY_ID
    if taken < present:
        last = _id_at(log_probs, row, threshold, taken, scratch)
    return threshold, last


@inline
def _collect(log_probs: LogProbs, row: int, bound: float, scratch: Scratch) -> int:
    """Make candidates of the log-probabilities that reach a bound; returns how many they are."""
    size = u64(log_probs.shape[1])
    count = 0
    for block in range(u64(scratch.maxima.size)):
        if scratch.maxima[block] >= bound:
            for token in range(block * BLOCK, min((block + u64(1)) * BLOCK, size)):
                log_prob = log_probs[row, token]
                if log_prob >= bound:
                    scratch.candidates[count] = log_prob
                    count += 1
    return count


@inline
def _id_at(log_probs: LogProbs, row: int, value: float, nth: int, scratch: Scratch) -> Any:
    """The id of the n-th token, from 1, of a log-probability."""
    size = u64(log_probs.shape[1])
    for block in range(u64(scratch.maxima.size)):
        if scratch.maxima[block] >= value:
            for token in range(block * BLOCK, min((block + u64(1)) * BLOCK, size)):
                nth -= log_probs[row, token] == value
                if nth == 0:
                    return token
    return EVERY_ID


@kernel
def cut(scratch: Scratch, goal: float, by_count: bool) -> float:
    """Keep the fewest of the heaviest tokens that together reach a goal; returns their sum.

    The goal is a sum of weights, or a number of tokens.
    """
    low, high, above = _bracket(scratch, goal, by_count)
    count = _take_between(scratch, low, high)
    count, above = _narrow(scratch.candidates, count, low, high, above, goal, by_count)
    threshold, taken, present = _crossing(scratch.candidates, count, goal - above, by_count)
    last = EVERY_ID
    if taken < present:
        last = _id_of(scratch, threshold, taken)
    return keep_from(scratch, threshold, last)


@inline
def _take_between(scratch: Scratch, low: float, high: float) -> int:
    """Make candidates of the weights from low to below high; returns how many they are.

    The bits of numbers that are not negative are in their order, so one comparison suffices.
    """
    lowest = float_bits(low)
    width = float_bits(high) - lowest
    count = 0
    for block in range(u64(scratch.sums.size)):
        if scratch.sums[block] >= low:
            begin = block * BLOCK
            for j in range(BLOCK):
                weight = scratch.weights[begin + j]
                if float_bits(weight) - lowest < width:
                    scratch.candidates[count] = weight
                    count += 1
    return count


@kernel
def _bracket(
    scratch: Scratch,
    goal: float,
    by_count: bool,
) -> tuple[float, float, float]:
    """Bounds of the threshold, and what the weights reach that are not below the upper one.

    The heaviest token weighs 1. Depth is -log(weight).
    """
    high, shallow, above = 2.0, -0.5, 0.0
    low, deep = exp_of_negative(-4.0), 4.0
    below = _measure(scratch, low, by_count)
    passes = 0
    while below < goal and deep < 700.0:
        high, shallow, above = low, deep, below
        deep *= 2.0
        low = exp_of_negative(-deep)
        if low == 0.0:
            break
        below = _measure(scratch, low, by_count)
    if below < goal:
        return _TINY, high, above
    while passes < _PASSES:
        passes += 1
        unit = 1.0 if by_count else low  # the least that each token between adds
        if below - above <= _FEW * unit:
            break
        share = min(max((goal - above) / (below - above), 0.1), 0.9)
        depth = shallow + (deep - shallow) * share
        middle = exp_of_negative(-max(depth, 0.0))
        if not low < middle < high:
            break
        measure = _measure(scratch, middle, by_count)
        if measure >= goal:
            low, deep, below = middle, depth, measure
        else:
            high, shallow, above = middle, depth, measure
    return low, high, above


@kernel
def _narrow(
    values: NDArray[np.float64],
    size: int,
    low: float,
    high: float,
    above: float,
    goal: float,
    by_count: bool,
) -> tuple[int, float]:
    """Keep the values of a narrower bracket; how many they are, and what is above them now.

    Halves are taken without a branch that depends on a value, which would be guessed wrong.
    """
    for _ in range(_PASSES):
        middle = np.sqrt(low * high)
        if size <= _VERY_FEW or not low < middle < high:
            break
        measure = _measure_of(values, size, middle, by_count)
        upper = above + measure >= goal
        kept = 0
        for i in range(size):
            value = values[i]
            values[kept] = value
            kept += i64((value >= middle) == upper)
        size = kept
        if upper:
            low = middle
        else:
            high, above = middle, above + measure
    return size, above


@inline
def _measure_of(values: NDArray[np.float64], size: int, threshold: float, by_count: bool) -> float:
    even = odd = 0.0
    for i in range(size // 2):
        a, b = values[2 * i], values[2 * i + 1]
        even += (1.0 if by_count else a) if a >= threshold else 0.0
        odd += (1.0 if by_count else b) if b >= threshold else 0.0
    if size % 2 and values[size - 1] >= threshold:
        even += 1.0 if by_count else values[size - 1]
    return even + odd


@inline
def _measure(scratch: Scratch, threshold: float, by_count: bool) -> float:
    return count_from(scratch, threshold) if by_count else sum_from(scratch, threshold)


@kernel
def _crossing(
    values: NDArray[np.float64],
    size: int,
    goal: float,
    by_count: bool,
) -> tuple[float, int, int]:
    """Where the values from the highest down reach a goal: the value, how many of it, of how many.

    If they do not, the lowest value and all of it. Partitions values in place.
    """
    begin, end = 0, size
    reached = 0.0
    pivot, equal = 0.0, 0
    while begin < end:
        pivot = _median(values[begin], values[(begin + end) // 2], values[end - 1])
        above, first, behind = _partition(values, begin, end, pivot, by_count)
        if reached + above >= goal and first > begin:
            end = first
            continue
        reached += above
        equal = behind - first
        for taken in range(1, equal + 1):
            reached += 1.0 if by_count else pivot
            if reached >= goal:
                return pivot, taken, equal
        if behind == end:
            break
        begin = behind
    return pivot, equal, equal


@inline
def _partition(
    values: NDArray[np.float64],
    begin: int,
    end: int,
    pivot: float,
    by_count: bool,
) -> tuple[float, int, int]:
    """Put higher values first, then equal ones; what the former measure, where others begin."""
    above = 0.0
    first, at, behind = begin, begin, end
    while at < behind:
        value = values[at]
        if value > pivot:
            values[at], values[first] = values[first], value
            above += 1.0 if by_count else value
            first += 1
            at += 1
        elif value == pivot:
            at += 1
        else:
            behind -= 1
            values[at], values[behind] = values[behind], value
    return above, first, behind


@inline
def _median(a: float, b: float, c: float) -> float:
    return max(min(a, b), min(max(a, b), c))


@inline
def _id_of(scratch: Scratch, weight: float, nth: int) -> Any:
    """The id of the n-th token, from 1, that weighs so much."""
    for token in range(u64(scratch.weights.size)):
        if scratch.weights[token] == weight and scratch.sums[token // BLOCK] > 0.0:
            nth -= 1
            if nth == 0:
                return token
    return EVERY_ID
