"""The weights of a row's tokens, exp((log_prob - peak) / temperature), and their sums.

Everything here is plain arithmetic in an order that is written down, so that all machines get the
same bits: no exp of a C library, and sums in eight lanes of a block, then block by block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from lmscore.models.compiled import float_bits, inline, intrinsic, kernel, u64

BLOCK: Any = np.uint64(64)
"""Tokens that are summed up, or skipped, together."""

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01  # with 21 zero bits at its end
_LN2_LOW = 1.90821492927058770002e-10
_SHIFTER = 6755399441055744.0  # 1.5 * 2^52: adding it rounds, and leaves the integer in low bits
_LOWEST = -708.0  # exp of less is no normal number; it counts as 0

LogProbs = NDArray[np.float32] | NDArray[np.float64]


class Scratch(NamedTuple):
    """Memory for the work on one row; its blocks are of BLOCK tokens, the last one of fewer."""

    maxima: NDArray[np.float64]  # (blocks,) highest log-probability
    sums: NDArray[np.float64]  # (blocks,) of weights; 0: none of the block's weights counts
    weights: NDArray[np.float64]  # (blocks * BLOCK,) 0 behind the row's end
    candidates: NDArray[np.float64]  # (blocks * BLOCK + 1,)
    lanes: NDArray[np.float64]  # (BLOCK,)

    @classmethod
    def of(cls, vocabulary_size: int) -> Scratch:
        """Memory for rows of so many tokens."""
        block = int(BLOCK)
        blocks = -(-vocabulary_size // block)
        sizes = (blocks, blocks, blocks * block, blocks * block + 1, block)
        return cls(*(np.zeros(size) for size in sizes))


@intrinsic
def _float_of_bits(typing_context: Any, bits: Any) -> Any:  # noqa: ARG001 numba's protocol
    """The float64 that has these bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.uint64), generate


@inline
def exp_of_negative(x: float) -> float:
    """exp(x) for x <= 0 within 1e-14 of itself; 0 below -708 and for NaN.

    x = k ln 2 + 8 r with |r| <= 0.044, so that exp(x) = 2^k exp(r)^8, and seven terms suffice.
    """
    clamped = max(x, _LOWEST)
    shifted = clamped * _LOG2_E + _SHIFTER
    k = shifted - _SHIFTER
    r = ((clamped - k * _LN2_HIGH) - k * _LN2_LOW) * 0.125
    r2 = r * r
    low = (1.0 + r) + (0.5 + r * (1 / 6)) * r2
    high = (1 / 24 + r * (1 / 120)) + (1 / 720 + r * (1 / 5040)) * r2
    power = low + high * (r2 * r2)
    power = power * power
    power = power * power
    power = power * power
    weight = power * _float_of_bits((float_bits(shifted) + u64(1023)) << u64(52))
    return weight if x > _LOWEST else 0.0


@kernel
def block_maxima(
    log_probs: LogProbs, row: int, maxima: NDArray[np.float64], lanes: NDArray[np.float64]
) -> float:
    """Note the highest log-probability of each block; returns that of the row."""
    size = u64(log_probs.shape[1])
    whole = size // BLOCK
    peak = -np.inf
    for block in range(whole):
        at = block * BLOCK
        for j in range(u64(16)):
            a = max(log_probs[row, at + j], log_probs[row, at + j + u64(16)])
            b = max(log_probs[row, at + j + u64(32)], log_probs[row, at + j + u64(48)])
            lanes[j] = max(a, b)
        for j in range(u64(8)):
            lanes[j] = max(lanes[j], lanes[j + u64(8)])
        for j in range(u64(4)):
            lanes[j] = max(lanes[j], lanes[j + u64(4)])
        highest = max(lanes[0], lanes[1], lanes[2], lanes[3])
        maxima[block] = highest
        peak = max(peak, highest)
    if whole * BLOCK < size:
        highest = -np.inf
        for token in range(whole * BLOCK, size):
            highest = max(highest, log_probs[row, token])
        maxima[whole] = highest
        peak = max(peak, highest)
    return peak


@kernel
def weigh_all(
    log_probs: LogProbs, row: int, peak: float, sharpness: float, scratch: Scratch
) -> float:
    """Weigh every token of a row; returns the sum."""
    weights = scratch.weights
    for token in range(u64(log_probs.shape[1])):
        weights[token] = exp_of_negative((log_probs[row, token] - peak) * sharpness)
    total = 0.0
    for block in range(u64(scratch.sums.size)):
        scratch.sums[block] = block_sum(weights, block * BLOCK)
        total += scratch.sums[block]
    return total


@kernel
def weigh_from(
    log_probs: LogProbs,
    row: int,
    peak: float,
    sharpness: float,
    floor: float,
    last: Any,
    scratch: Scratch,
) -> float:
    """Weigh the tokens above a floor, and those on it up to the last id; returns the sum."""
    size = u64(log_probs.shape[1])
    weights = scratch.weights
    total = 0.0
    for block in range(u64(scratch.sums.size)):
        scratch.sums[block] = 0.0
        if scratch.maxima[block] < floor:
            continue
        begin = block * BLOCK
        for token in range(begin, min(begin + BLOCK, size)):
            log_prob = log_probs[row, token]
            if log_prob > floor or (log_prob == floor and token <= last):
                weights[token] = exp_of_negative((log_prob - peak) * sharpness)
            else:
                weights[token] = 0.0
        scratch.sums[block] = block_sum(weights, begin)
        total += scratch.sums[block]
    return total


@inline
def block_sum(weights: NDArray[np.float64], begin: Any) -> float:
    """The sum of a block in four lanes, which are then added."""
    sum0 = sum1 = sum2 = sum3 = 0.0
    for i in range(u64(16)):
        at = begin + i * u64(4)
        sum0 += weights[at]
        sum1 += weights[at + u64(1)]
        sum2 += weights[at + u64(2)]
        sum3 += weights[at + u64(3)]
    return (sum0 + sum1) + (sum2 + sum3)


@kernel
def sum_from(scratch: Scratch, threshold: float) -> float:
    """The sum of the weights that reach a threshold above 0."""
    weights, lanes = scratch.weights, scratch.lanes
    total = 0.0
    for block in range(u64(scratch.sums.size)):
        if scratch.sums[block] >= threshold:  # or each of its weights is below
            begin = block * BLOCK
            for j in range(BLOCK):
                weight = weights[begin + j]
                lanes[j] = weight if weight >= threshold else 0.0
            total += block_sum(lanes, u64(0))
    return total


@kernel
def count_from(scratch: Scratch, threshold: float) -> float:
    """The number of weights that reach a threshold above 0."""
    weights, lanes = scratch.weights, scratch.lanes
    total = 0.0
    for block in range(u64(scratch.sums.size)):
        if scratch.sums[block] >= threshold:
            begin = block * BLOCK
            for j in range(BLOCK):
                lanes[j] = 1.0 if weights[begin + j] >= threshold else 0.0
            total += block_sum(lanes, u64(0))
    return total


@kernel
def keep_from(scratch: Scratch, threshold: float, last: Any) -> float:
    """Drop the weights below a threshold, and those on it behind the last id; returns the sum."""
    weights = scratch.weights
    total = 0.0
    for block in range(u64(scratch.sums.size)):
        begin = block * BLOCK
        if scratch.sums[block] < threshold:  # then so is each of its weights
            scratch.sums[block] = 0.0
            continue
        for j in range(BLOCK):
            weight = weights[begin + j]
            weights[begin + j] = weight if weight >= threshold else 0.0
        if begin + BLOCK > last:
            for token in range(max(begin, last + u64(1)), begin + BLOCK):
                weight = weights[token]
                weights[token] = weight if weight > threshold else 0.0
        scratch.sums[block] = block_sum(weights, begin)
        total += scratch.sums[block]
    return total
