"""The exact best step along a direction in the space of weights (Och 2003, section 4).

Along a line, the total of every hypothesis is a straight line in the step, and the winner of a list is
whichever is on top: the upper envelope. The error changes only where some list changes its winner,
so it is known for every step once those places are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.client.tuning.candidates import Candidates, Floats


@dataclass(frozen=True)
class Changes:
    """Where winners change along a line, all lists together, in the order of the steps."""

    first: NDArray[np.intp]  # (lists,) winners at a step of minus infinity
    steps: Floats  # (changes,) ascending
    lists: NDArray[np.intp]  # (changes,)
    losers: NDArray[np.intp]  # (changes,) up to that step
    winners: NDArray[np.intp]  # (changes,) from that step on


@dataclass(frozen=True)
class Step:
    """A step along a line and the error there."""

    size: float
    error: float


def changes(candidates: Candidates, weights: Floats, direction: Floats) -> Changes:
    """The upper envelopes of all lists along ``weights + step * direction``."""
    at_zero = candidates.features @ weights  # (lists, hypotheses)
    slopes = candidates.features @ direction
    rows = np.arange(candidates.lists)
    lowest = np.where(candidates.present, slopes, np.inf).min(axis=1, keepdims=True)
    leads = candidates.present & (slopes == lowest)
    current = np.argmax(np.where(leads, at_zero, -np.inf), axis=1)
    first, since = current.copy(), np.full(candidates.lists, -np.inf)
    found: list[tuple[Floats, NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]] = []
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
    return np.divide(leads, gains, out=np.full(gains.shape, np.inf), where=overtakes)


def best_step(
    candidates: Candidates,
    weights: Floats,
    direction: Floats,
    error: Callable[[Floats], Floats],
    low: float = -np.inf,
    high: float = np.inf,
) -> Step:
    """The step from low to high with the least error, in the middle of where that is the error.

    Error maps sums of statistics, (n, statistics), to errors, (n,). A step of 0 is kept where no
    other is better.
    """
    line = changes(candidates, weights, direction)
    sums = _sums(candidates, line)
    begins = np.concatenate(([-np.inf], line.steps)).clip(low, high)
    ends = np.concatenate((line.steps, [np.inf])).clip(low, high)
    errors = np.where(ends > begins, error(sums), np.inf)
    least = float(errors.min())
    if (errors[(begins < 0) & (ends > 0)] <= least).any():
        return Step(0.0, least)
    best = int(np.argmin(errors))
    return Step(_inside(float(begins[best]), float(ends[best]), line.steps), least)


def _sums(candidates: Candidates, line: Changes) -> Floats:
    """Sums of statistics between the changes. Shape (changes + 1, statistics)."""
    statistics = candidates.statistics
    steps = statistics[line.lists, line.winners] - statistics[line.lists, line.losers]
    start = candidates.chosen(line.first).sum(axis=0, keepdims=True)
    sums: Floats = np.concatenate((start, start + np.cumsum(steps, axis=0)))
    return sums


def _inside(begin: float, end: float, steps: Floats) -> float:
    """A step well inside an interval, which may be open to one side or both."""
    if np.isfinite(begin) and np.isfinite(end):
        return (begin + end) / 2
    beyond = float(steps[-1] - steps[0]) / 100 if len(steps) > 1 else 1.0
    if np.isfinite(begin):
        return begin + beyond
    return end - beyond if np.isfinite(end) else 0.0
