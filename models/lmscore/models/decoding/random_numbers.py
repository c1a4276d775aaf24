"""A random number a row and step that depends on the row's own seed, sequence and step alone.

Philox-4x64-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC11): ten rounds of
multiplications scramble a counter under a key. The key is (seed, sequence), and step t takes the
first word of block t + 1, which is word 4 t of numpy.random.Philox(key=[seed, sequence]).
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import inline, kernel, u64
from lmscore.models.decoding.parameters import SEEDS

_MULTIPLIERS: Any = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_WEYL: Any = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B))
_LOW_HALF: Any = np.uint64(0xFFFFFFFF)
_ROUNDS = 10


def draw_seed() -> int:
    """A seed that nobody can foresee."""
    return secrets.randbelow(SEEDS)


def uniforms(
    seeds: NDArray[np.uint64], sequences: NDArray[np.uint64], steps: NDArray[np.int64]
) -> NDArray[np.float64]:
    """One number of 53 bits in [0, 1) a row: (rows,)."""
    numbers = np.empty(len(seeds))
    _fill(seeds, sequences, steps, numbers)
    return numbers


@kernel
def _fill(
    seeds: NDArray[np.uint64],
    sequences: NDArray[np.uint64],
    steps: NDArray[np.int64],
    numbers: NDArray[np.float64],
) -> None:
    for row in range(numbers.size):
        bits = _philox(u64(seeds[row]), u64(sequences[row]), u64(steps[row]) + u64(1))
        numbers[row] = np.float64(bits >> u64(11)) * 2.0**-53


@inline
def _philox(key0: Any, key1: Any, counter: Any) -> Any:
    c0, c1, c2, c3 = counter, u64(0), u64(0), u64(0)
    for _ in range(_ROUNDS):
        high0, low0 = _high_product(_MULTIPLIERS[0], c0), _MULTIPLIERS[0] * c0
        high1, low1 = _high_product(_MULTIPLIERS[1], c2), _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0
        key0 += _WEYL[0]
        key1 += _WEYL[1]
    return c0


@inline
def _high_product(a: Any, b: Any) -> Any:
    """The upper 64 of the 128 bits of a product."""
    a_high, a_low = a >> u64(32), a & _LOW_HALF
    b_high, b_low = b >> u64(32), b & _LOW_HALF
    middle = a_high * b_low + ((a_low * b_low) >> u64(32))
    carried = a_low * b_high + (middle & _LOW_HALF)
    return a_high * b_high + (middle >> u64(32)) + (carried >> u64(32))
