"""How well tuned weights do on lists that they were not tuned on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lmscore.client.tuning.candidates import Candidates, Floats
from lmscore.client.tuning.line_search import Error

SAMPLES = 1000
EXCHANGES = 10
"""Rounds over all lists at most."""
ENOUGH = 1e-9


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
    """The best hypothesis of each list: of one that no other hypothesis of one list makes better.

    Error rates add up, so for them it is the best choice there is. BLEU and chrF do not, and short
    texts have no BLEU of their own worth the name; so hypotheses are exchanged while that helps.
    """
    own = np.where(candidates.present, error(candidates.statistics), np.inf)
    best: NDArray[np.intp] = np.argmin(own, axis=1)
    sums = candidates.chosen(best).sum(axis=0)
    for _ in range(EXCHANGES):
        before = best.copy()
        for i, statistics in enumerate(candidates.statistics):
            others = sums - statistics[best[i]]
            errors = np.where(candidates.present[i], error(others + statistics), np.inf)
            if errors.min() < errors[best[i]] - ENOUGH:
                best[i] = np.argmin(errors)
                sums = others + statistics[best[i]]
        if (best == before).all():
            break
    return best
