"""Weights of relative frequencies of all lengths, fitted on held-out text by EM.

The distribution after a context is a mixture of its relative frequencies and of the distribution
after the context one word shorter. The weight of the former depends on the length and on how often
the context was seen, in classes by powers of two (Chen and Goodman 1998, section 2.3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.estimation.backoff_model import TOTAL_BITS
from lmscore.models.estimation.lexicon import BOS_ID
from lmscore.models.estimation.ngram_counts import OrderCounts

_FIRST_WEIGHT = 0.5
_MOST_ROUNDS = 200
_LEAST_GAIN = 1e-7  # nats an event


def fit_weights(
    levels: list[OrderCounts], counts: list[NDArray[np.int64]], heldout: NDArray[np.uint32]
) -> tuple[NDArray[np.float64], list[float]]:
    """Weights (order, 64) by length and by binary digits of the context's count, and the held-out
    log-likelihood in nats before each round of EM, which never falls.

    Classes that the held-out text has no event of keep the weight 0.5.
    """  # noqa: D205 one sentence
    frequencies, classes = _observe(levels, counts, heldout)
    uniform = 1.0 / (len(levels[0]) - 1)
    weights = np.full((len(levels), TOTAL_BITS), _FIRST_WEIGHT)
    likelihoods: list[float] = []
    for _ in range(_MOST_ROUNDS):
        weights, likelihood = _improve(weights, frequencies, classes, uniform)
        likelihoods.append(likelihood)
        gain = likelihood - likelihoods[-2] if len(likelihoods) > 1 else np.inf
        if gain < _LEAST_GAIN * len(frequencies):
            break
    return weights, likelihoods


def _improve(
    weights: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    classes: NDArray[np.int64],
    uniform: float,
) -> tuple[NDArray[np.float64], float]:
    """One round of EM: better weights, and the log-likelihood of the given ones."""
    events, order = frequencies.shape
    own = np.empty((order, events))  # the part of each length in the probability up to it
    mixtures = np.full(events, uniform)
    for n in range(order):
        weight = np.where(classes[:, n] > 0, weights[n, classes[:, n]], 0.0)
        own[n] = weight * frequencies[:, n]
        mixtures = own[n] + (1 - weight) * mixtures
        own[n] /= mixtures
    better = weights.copy()
    arriving = np.ones(events)  # probability that the word was not drawn by a longer context
    for n in reversed(range(order)):
        reached = np.bincount(classes[:, n], arriving, TOTAL_BITS)
        taken = np.bincount(classes[:, n], arriving * own[n], TOTAL_BITS)
        np.divide(taken, reached, out=better[n], where=reached > 0)
        arriving = arriving * (1 - own[n])
    return better, float(np.log(mixtures).sum())


def _observe(
    levels: list[OrderCounts], counts: list[NDArray[np.int64]], heldout: NDArray[np.uint32]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Relative frequency of each held-out event at each length, and the class of its context.

    Both (events, order); a context that was never seen, or is cut short by the start of the
    sentence, has class 0.
    """
    frequencies = np.zeros((len(heldout), len(levels)))
    classes = np.zeros((len(heldout), len(levels)), np.int64)
    entries = np.zeros(len(heldout), np.int64)  # by place, the n-gram that begins there, or -1
    for n, (level, level_counts) in enumerate(zip(levels, counts, strict=True)):
        totals = np.add.reduceat(np.append(level_counts, 0), level.begins[:-1])
        totals[np.diff(level.begins) == 0] = 0
        _observe_length(
            heldout, n, level.begins, level.words, level_counts, totals, entries,
            frequencies, classes,
        )  # fmt: skip
    events = heldout != BOS_ID
    return frequencies[events], classes[events]


@kernel
def _observe_length(
    tokens: NDArray[np.uint32],
    distance: int,
    begins: NDArray[np.int64],
    words: NDArray[np.uint32],
    counts: NDArray[np.int64],
    totals: NDArray[np.int64],
    entries: NDArray[np.int64],
    frequencies: NDArray[np.float64],
    classes: NDArray[np.int64],
) -> None:
    """Extend the n-grams that begin at each place by the word at a distance."""
    for place in range(tokens.size):
        context = entries[place]
        at = place + distance
        if context < 0 or at >= tokens.size or totals[context] == 0:
            entries[place] = -1
            continue
        total = totals[context]
        bits = 0
        while total >> bits:
            bits += 1
        classes[at, distance] = bits
        low, high = begins[context], begins[context + 1]
        while low < high:
            middle = (low + high) // 2
            if words[middle] < tokens[at]:
                low = middle + 1
            else:
                high = middle
        if low < begins[context + 1] and words[low] == tokens[at]:
            entries[place] = low
            frequencies[at, distance] = counts[low] / total
        else:
            entries[place] = -1
