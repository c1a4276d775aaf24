"""Weights with the least error on lists: exact line searches along coordinates, restarted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.client.tuning.candidates import Candidates, Floats
from lmscore.client.tuning.line_search import best_step, changes

MAX_ROUNDS = 50
RANDOM_DIRECTIONS = 4
"""Directions tried in each round besides the coordinates: error surfaces have ridges between them."""


@dataclass(frozen=True)
class Range:
    """The weights that may be tried: one of equal bounds is fixed."""

    low: Floats  # (features,)
    high: Floats  # (features,)

    @property
    def free(self) -> NDArray[np.bool_]:
        """Which weights are searched."""
        return self.low < self.high


@dataclass(frozen=True)
class Found:
    """Weights and their error on the lists that they were found on."""

    weights: Floats  # (features,)
    error: float


def search(
    candidates: Candidates,
    error: Callable[[Floats], Floats],
    start: Floats,
    range_: Range,
    restarts: int,
    random: np.random.Generator,
    report: Callable[[], None] = lambda: None,
) -> Found:
    """The best of the start and some restarts from random weights; never worse than the start.

    Report is called after each of them.
    """
    best = descend(candidates, error, start, range_, random)
    report()
    for _ in range(restarts):
        found = descend(candidates, error, _random_start(start, range_, random), range_, random)
        if found.error < best.error:
            best = found
        report()
    return best


def descend(
    candidates: Candidates,
    error: Callable[[Floats], Floats],
    start: Floats,
    range_: Range,
    random: np.random.Generator,
) -> Found:
    """Line searches until no direction gives less error."""
    weights = start.copy()
    least = total_error(candidates, weights, error)
    for _ in range(MAX_ROUNDS):
        before = least
        for direction in _directions(candidates, weights, range_, random):
            low, high = _bounds(weights, direction, range_)
            if not low < high:
                continue
            step = best_step(candidates, weights, direction, error, low, high)
            moved = np.clip(weights + step.size * direction, range_.low, range_.high)
            # What rounding makes of the step counts, not what the envelopes promise.
            error_there = total_error(candidates, moved, error)
            if error_there < least:
                weights, least = moved, error_there
        if least >= before:
            break
    return Found(weights, least)


def total_error(
    candidates: Candidates, weights: Floats, error: Callable[[Floats], Floats]
) -> float:
    """The error of the lists' winners under some weights."""
    return float(error(candidates.chosen(candidates.choose(weights)).sum(axis=0)))


def _directions(
    candidates: Candidates, weights: Floats, range_: Range, random: np.random.Generator
) -> list[Floats]:
    free = np.flatnonzero(range_.free)
    directions = list(np.eye(len(range_.low))[free])
    if len(free) > 1:
        sizes = natural_sizes(candidates, weights)
        for _ in range(RANDOM_DIRECTIONS):
            direction = np.zeros(len(range_.low))
            direction[free] = random.normal(size=len(free)) * sizes[free]
            directions.append(direction)
    return directions


def natural_sizes(candidates: Candidates, weights: Floats) -> Floats:
    """By how much each weight has to change to change the winners of half the lists that it can.

    Features have units of their own, and so have their weights. Shape (features,).
    """
    axes = np.eye(len(weights))
    steps = [np.abs(changes(candidates, weights, axis).steps) for axis in axes]
    return np.array([float(np.median(each)) if len(each) else 1.0 for each in steps])


def _random_start(around: Floats, range_: Range, random: np.random.Generator) -> Floats:
    sizes = np.abs(around) * random.lognormal(size=len(around))
    signs = np.where(range_.low < 0, random.choice([-1.0, 1.0], size=len(around)), 1.0)
    return np.where(range_.free, np.clip(signs * sizes, range_.low, range_.high), around)


def _bounds(weights: Floats, direction: Floats, range_: Range) -> tuple[float, float]:
    """How far one can go along a direction within the range."""
    along = direction != 0
    with np.errstate(invalid="ignore"):
        to_low = (range_.low[along] - weights[along]) / direction[along]
        to_high = (range_.high[along] - weights[along]) / direction[along]
    return float(np.minimum(to_low, to_high).max()), float(np.maximum(to_low, to_high).min())
