"""How well tuned weights do on lists that they were not tuned on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.client.tuning.candidates import Candidates, Floats

Error = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Interval:
    """A bootstrap confidence interval."""

    low: float
    high: float


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


def bootstrap(
    statistics: Floats, error: Error, samples: int, random: np.random.Generator
) -> Interval:
    """The 95 % interval of a corpus' error, lists drawn with replacement. (Efron 1979)"""
    return _interval(error(_resampled(statistics, _draws(len(statistics), samples, random))))


def bootstrap_difference(
    statistics: Floats, others: Floats, error: Error, samples: int, random: np.random.Generator
) -> Interval:
    """The same for the difference of two choices' errors, both on the same lists in each sample."""
    draws = _draws(len(statistics), samples, random)
    return _interval(error(_resampled(statistics, draws)) - error(_resampled(others, draws)))


def _draws(lists: int, samples: int, random: np.random.Generator) -> Floats:
    """How often each list is drawn. Shape (samples, lists)."""
    return random.multinomial(lists, np.full(lists, 1 / lists), size=samples).astype(float)


def _resampled(statistics: Floats, draws: Floats) -> Floats:
    sums: Floats = draws @ statistics
    return sums


def _interval(errors: Floats) -> Interval:
    low, high = np.quantile(errors, [0.025, 0.975])
    return Interval(float(low), float(high))


def oracle(candidates: Candidates, error: Error) -> NDArray[np.intp]:
    """The hypothesis of each list that is best on its own; for BLEU, of about the best corpus."""
    own = np.where(candidates.present, error(candidates.statistics), np.inf)
    return np.argmin(own, axis=1)
