"""How the error runs along a line in the space of weights, exactly (Och 2003, section 4).

Along a line, the total of every hypothesis is a straight line in the step, and the winner of a list
is whichever is on top: the upper envelope. The error changes only where some list changes its
winner, so it is known for every step once those places are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.client.tuning.candidates import Candidates, Floats

Error = Callable[[Floats], Floats]
"""Maps sums of statistics, (n, statistics), to errors, (n,)."""


@dataclass(frozen=True)
class Changes:
    """Where winners change along a line, all lists together, in the order of the steps."""

    first: NDArray[np.intp]  # (lists,) winners at a step of minus infinity
    steps: Floats  # (changes,) ascending
    lists: NDArray[np.intp]  # (changes,)
    losers: NDArray[np.intp]  # (changes,) up to that step
    winners: NDArray[np.intp]  # (changes,) from that step on


def changes(candidates: Candidates, weights: Floats, direction: Floats) -> Changes:
    """The upper envelopes of all lists along ``weights + step * direction``."""
    at_zero = candidates.features @ weights  # (lists, hypotheses)
    slopes = candidates.features @ direction
    rows = np.arange(candidates.lists)
    lowest = np.where(candidates.present, slopes, np.inf).min(axis=1, keepdims=True)
    leads = candidates.present & (slopes == lowest)
    current = np.argmax(np.where(leads, at_zero, -np.inf), axis=1)
    first, since = current.copy(), np.full(candidates.lists, -np.inf)
    found = [(np.empty(0), rows[:0], rows[:0], rows[:0])]
    while len(rows):  # each round finds the next change of every list that has one
        crossings = _crossings(at_zero, slopes, candidates.present, rows, current[rows])
        following = crossings.min(axis=1)
        going_on = np.isfinite(following)
        rows, crossings, following = rows[going_on], crossings[going_on], following[going_on]
        # Of several that meet in one point the steepest is on top after it.
        meeting = np.where(crossings == following[:, None], slopes[rows], -np.inf)
        losers, winners = current[rows], np.argmax(meeting, axis=1)
        since[rows] = steps = np.maximum(following, since[rows])  # rounding must not go back
        current[rows] = winners
        found.append((steps, rows, losers, winners))
    steps, lists, losers, winners = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(steps, kind="stable")
    return Changes(first, steps[order], lists[order], losers[order], winners[order])


def _crossings(
    at_zero: Floats,
    slopes: Floats,
    present: NDArray[np.bool_],
    rows: NDArray[np.intp],
    current: NDArray[np.intp],
) -> Floats:
    """Where each hypothesis overtakes the current winner of its list; inf where it never does."""
    gains = slopes[rows] - slopes[rows, current][:, None]  # (rows, hypotheses)
    leads = at_zero[rows, current][:, None] - at_zero[rows]
    overtakes = present[rows] & (gains > 0)
    found: Floats = np.divide(leads, gains, out=np.full(gains.shape, np.inf), where=overtakes)
    return found


@dataclass(frozen=True)
class Profile:
    """The error along a line: constant between the steps at which it may change."""

    steps: Floats  # (changes,) ascending
    errors: Floats  # (changes + 1,) before, between and after them

    def at(self, steps: Floats) -> Floats:
        """The error at some steps; at a change, that after it."""
        found: Floats = self.errors[np.searchsorted(self.steps, steps, side="right")]
        return found

    def smoothed(self, steps: Floats, window: float) -> Floats:
        """The mean error within a window to both sides of some steps; the error itself for 0."""
        if window == 0 or not len(self.steps):
            return self.at(steps)
        return (self._integral(steps + window) - self._integral(steps - window)) / (2 * window)

    def _integral(self, ends: Floats) -> Floats:
        """Of the error from the first change to some steps."""
        up_to_changes = np.cumsum(np.diff(self.steps, prepend=self.steps[0]) * self.errors[:-1])
        since = np.searchsorted(self.steps, ends, side="right")
        last = np.maximum(since - 1, 0)
        total: Floats = up_to_changes[last] + (ends - self.steps[last]) * self.errors[since]
        return total

    def corners(self, low: float, high: float, window: float) -> Floats:
        """Steps from low to high of which one has the least smoothed error.

        That is linear in between; without a window, where the error itself is constant, the
        middles of all pieces of it.
        """
        if window > 0:
            found = np.concatenate((self.steps - window, self.steps + window, [low, high]))
            return np.clip(found, low, high)
        inside = self.steps[(self.steps > low) & (self.steps < high)]
        ends = np.unique(np.concatenate(([low], inside, [high])))
        middles: Floats = (ends[:-1] + ends[1:]) / 2
        return middles


def profile(candidates: Candidates, weights: Floats, direction: Floats, error: Error) -> Profile:
    """The error of all lists' winners along ``weights + step * direction``."""
    line = changes(candidates, weights, direction)
    statistics = candidates.statistics
    steps = statistics[line.lists, line.winners] - statistics[line.lists, line.losers]
    start = candidates.chosen(line.first).sum(axis=0, keepdims=True)
    sums = np.concatenate((start, start + np.cumsum(steps, axis=0)))
    return Profile(line.steps, error(sums))
