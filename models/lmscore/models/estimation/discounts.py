"""How much to take from counts, judged by how many n-grams occur once, twice, and so on."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel

FALLBACK_ABSOLUTE = 0.5
FALLBACK_MODIFIED = (0.5, 1.0, 1.5)  # what KenLM's lmplz substitutes
KATZ_MAX_COUNT = 5  # above it, counts are trusted (Katz 1987)


class DiscountWarning(UserWarning):
    """A corpus is too small or too odd for its discounts to be computed."""


def counts_of_counts(counts: NDArray[np.int64], largest: int) -> NDArray[np.int64]:
    """How many n-grams have each count up to largest: (largest + 1,)."""
    bins = np.zeros(largest + 1, np.int64)
    _count_small(counts, bins)
    return bins


def absolute_discount(order: int, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """D = n1 / (n1 + 2 n2) for every count but 0 (Ney, Essen and Kneser 1994)."""
    _, once, twice = counts_of_counts(counts, 2).tolist()
    if not (once and twice):
        _warn(order, f"{FALLBACK_ABSOLUTE} is used")
        return np.array([0, FALLBACK_ABSOLUTE])
    return np.array([0, once / (once + 2 * twice)])


def modified_discounts(order: int, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Discounts of counts 0, 1, 2 and more (Chen and Goodman 1998, equation 26)."""
    n = counts_of_counts(counts, 4).astype(np.float64)
    if n[1:4].all():
        y = n[1] / (n[1] + 2 * n[2])
        j = np.arange(1, 4)
        discounts = j - (j + 1) * y * n[2:5] / n[1:4]
        if (discounts >= 0).all() and (discounts <= j).all():
            return np.concatenate(([0.0], discounts))
    _warn(order, f"{', '.join(map(str, FALLBACK_MODIFIED))} are used")
    return np.array([0, *FALLBACK_MODIFIED])


def katz_discounts(order: int, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Discounts r - d_r r of counts 0 to 5 and more, by Good's and Turing's r* (Katz 1987).

    The largest count that is discounted is lowered until all d_r are between 0 and 1.
    """
    n = counts_of_counts(counts, KATZ_MAX_COUNT + 1).astype(np.float64)
    for largest in range(KATZ_MAX_COUNT, 0, -1):
        if not n[1 : largest + 2].all():
            continue
        r = np.arange(1, largest + 1)
        trusted = (largest + 1) * n[largest + 1] / n[1]
        if trusted == 1:
            continue
        ratios = ((r + 1) * n[2 : largest + 2] / (r * n[1 : largest + 1]) - trusted) / (1 - trusted)
        if (ratios > 0).all() and (ratios < 1).all():
            return np.concatenate(([0.0], r * (1 - ratios), [0.0]))
    _warn(order, "an absolute discount is used")
    return absolute_discount(order, counts)


def _warn(order: int, remedy: str) -> None:
    warnings.warn(
        f"too few {order}-grams occur once, twice, … to compute their discounts: {remedy}",
        DiscountWarning,
        stacklevel=3,
    )


@kernel
def _count_small(counts: NDArray[np.int64], bins: NDArray[np.int64]) -> None:
    for i in range(counts.size):
        if counts[i] < bins.size:
            bins[counts[i]] += 1
