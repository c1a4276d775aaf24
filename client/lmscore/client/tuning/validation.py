"""How well tuned weights do on lists that they were not tuned on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lmscore.client.tuning.candidates import Candidates, Floats
from lmscore.client.tuning.line_search import Error

SAMPLES = 1000


def cross_validated(
    candidates: Candidates,
    tune: Callable[[Candidates], Floats],
    folds: int,
    random: np.random.Generator,
) -> Floats:
    """Statistics of the winners of each list under weights tuned on the other folds.

    Lists are dealt out at random. Shape (lists, statistics).
    """
    chosen = np.empty((candidates.lists, candidates.statistics.shape[2]))
    for fold in np.array_split(random.permutation(candidates.lists), folds):
        others = np.setdiff1d(np.arange(candidates.lists), fold)
        weights = tune(candidates.some(others))
        held_out = candidates.some(fold)
        chosen[fold] = held_out.chosen(held_out.choose(weights))
    return chosen


def resampled(choices: Sequence[Floats], error: Error, random: np.random.Generator) -> Floats:
    """The errors of several choices of hypotheses, lists drawn with replacement (Efron 1979).

    Choices are statistics, (lists, statistics) each; all are judged by the same lists in each
    sample. Shape (choices, SAMPLES).
    """
    stacked = np.stack(choices)  # (choices, lists, statistics)
    lists = stacked.shape[1]
    draws = (random.integers(lists, size=lists) for _ in range(SAMPLES))
    sums = np.stack([stacked[:, drawn].sum(axis=1) for drawn in draws], axis=1)
    return error(sums)


def oracle(candidates: Candidates, error: Error) -> NDArray[np.intp]:
    """The hypothesis of each list that is best on its own; for BLEU, of about the best corpus."""
    own = np.where(candidates.present, error(candidates.statistics), np.inf)
    best: NDArray[np.intp] = np.argmin(own, axis=1)
    return best
