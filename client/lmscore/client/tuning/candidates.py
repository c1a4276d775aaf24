"""The hypotheses of all lists as matrices: what is weighted, and what each choice costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
IMPOSSIBLE = -1e9
"""What counts for a feature of -inf: bad enough to lose with any weight that is worth the name."""


@dataclass(frozen=True)
class Candidates:
    """Lists padded to one length, so that all of them are searched at once."""

    features: Floats  # (lists, hypotheses, features) finite
    statistics: Floats  # (lists, hypotheses, statistics) of an error metric, summed over lists
    present: NDArray[np.bool_]  # (lists, hypotheses); the rest pads

    @property
    def lists(self) -> int:
        """Number of lists."""
        return len(self.present)

    def choose(self, weights: Floats) -> NDArray[np.intp]:
        """The winner of each list; of equal totals the first."""
        totals = np.where(self.present, self.features @ weights, -np.inf)
        winners: NDArray[np.intp] = np.argmax(totals, axis=1)
        return winners

    def chosen(self, winners: NDArray[np.intp]) -> Floats:
        """The statistics of one hypothesis of each list. Shape (lists, statistics)."""
        picked: Floats = self.statistics[np.arange(self.lists), winners]
        return picked

    def some(self, lists: NDArray[np.intp]) -> Candidates:
        """Those lists alone."""
        return Candidates(self.features[lists], self.statistics[lists], self.present[lists])


def candidates(features: Sequence[Floats], statistics: Sequence[Floats]) -> Candidates:
    """Pads the matrices of each list, (hypotheses, features) and (hypotheses, statistics).

    A feature of -inf, which a model gives what it holds impossible, becomes IMPOSSIBLE.
    """
    shape = (len(features), max((len(each) for each in features), default=0))
    present = np.zeros(shape, bool)
    padded = np.zeros((*shape, features[0].shape[1] if features else 0))
    counted = np.zeros((*shape, statistics[0].shape[1] if statistics else 0))
    for i, (values, counts) in enumerate(zip(features, statistics, strict=True)):
        present[i, : len(values)] = True
        padded[i, : len(values)] = values
        counted[i, : len(counts)] = counts
    return Candidates(np.maximum(padded, IMPOSSIBLE), counted, present)
