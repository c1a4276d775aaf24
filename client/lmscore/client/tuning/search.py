"""Weights with the least error on lists: exact line searches along coordinates, restarted.

The error of the lists at hand is a step function of the weights, and its deepest hole is seldom
where other lists have theirs. So the searches look at its mean over a window of weights around each
(Cer, Jurafsky and Manning 2008), which is exact too, and moving weights that are not a model's
costs something.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmscore.client.tuning.candidates import Candidates, Floats
from lmscore.client.tuning.line_search import Error, changes, profile

MAX_ROUNDS = 10
ENOUGH = 1e-9
"""Less gain than this is rounding."""


@dataclass(frozen=True)
class Space:
    """Where weights are searched, and what else than the error counts. All (features,)."""

    start: Floats
    low: Floats
    high: Floats  # as low as low for a weight that is fixed
    windows: Floats  # half the width that the error is averaged over; 0 for the error itself
    penalties: Floats  # error that one unit of distance from the start counts for

    @property
    def free(self) -> NDArray[np.intp]:
        """Which weights are searched."""
        return np.flatnonzero(self.low < self.high)

    def holding(self, held: Sequence[int]) -> Space:
        """The same with some more weights fixed where they start."""
        low, high = self.low.copy(), self.high.copy()
        low[held] = high[held] = self.start[held]
        return replace(self, low=low, high=high)

    def plain(self) -> Space:
        """The same for the error alone, as it is."""
        return replace(
            self, windows=np.zeros_like(self.windows), penalties=np.zeros_like(self.penalties)
        )


def search(
    candidates: Candidates,
    error: Error,
    space: Space,
    rivals: Sequence[int],
    restarts: int,
    random: np.random.Generator,
    report: Callable[[], None] = lambda: None,
) -> Floats:
    """Weights whose error on the lists is at most that of the start.

    Searches begin at the start, at the optimum of each rival alone (features that say much the
    same, such as models, keep each other from moving), and at some random weights. Report is
    called after each.
    """
    held = [[other for other in rivals if other != each] for each in rivals if len(rivals) > 1]
    begins = [
        space.start,
        *(descend(candidates, error, space.holding(others), space.start) for others in held),
        *(_random_start(space, random) for _ in range(restarts)),
    ]
    found: list[tuple[float, Floats]] = []
    for begin in begins:
        weights = descend(candidates, error, space, begin)
        found.append((objective(candidates, error, space, weights), weights))
        report()
    best = min(found, key=lambda each: each[0])[1]
    return _no_worse(candidates, error, space, best)


def _no_worse(candidates: Candidates, error: Error, space: Space, found: Floats) -> Floats:
    """Those weights, if they do not cost more than the start by the error itself."""
    limit = total_error(candidates, space.start, error)
    if total_error(candidates, found, error) <= limit:
        return found
    plain = descend(candidates, error, space.plain(), space.start)
    return plain if total_error(candidates, plain, error) <= limit else space.start


def descend(candidates: Candidates, error: Error, space: Space, begin: Floats) -> Floats:
    """Line searches along one coordinate after the other, until none gains anything."""
    weights = begin.copy()
    for _ in range(MAX_ROUNDS):
        gained = sum(_line_search(candidates, error, space, weights, k) for k in space.free)
        if gained <= ENOUGH:
            break
    return weights


def _line_search(
    candidates: Candidates, error: Error, space: Space, weights: Floats, feature: int
) -> float:
    """Moves one of the weights to where it is best; gives what that gains."""
    at, start = weights[feature], space.start[feature]
    line = profile(candidates, weights, _axis(weights, feature), error)
    low, high, window = space.low[feature] - at, space.high[feature] - at, space.windows[feature]
    # Its own place, last, is left only for a better one; the penalty has a corner at the start.
    corners = [start - at] if window > 0 else []
    steps = np.concatenate((line.corners(low, high, window), corners, [0.0]))
    costs = line.smoothed(steps, window)
    if (
        window == 0
    ):  # winners may meet just here, and then the first of a list wins, as nowhere else
        costs[-1] = total_error(candidates, weights, error)
    costs += space.penalties[feature] * np.abs(at + steps - start)
    best = int(np.argmin(costs))
    gain = float(costs[-1] - costs[best])
    if gain > ENOUGH:
        weights[feature] = at + steps[best]
    return gain


def objective(candidates: Candidates, error: Error, space: Space, weights: Floats) -> float:
    """What searches are compared by: the smoothed errors of all coordinates, and penalties."""
    here = np.zeros(1)
    smoothed = [
        profile(candidates, weights, _axis(weights, k), error).smoothed(here, space.windows[k])[0]
        for k in space.free
    ]
    penalty = float(space.penalties @ np.abs(weights - space.start))
    return float(np.mean(smoothed)) + penalty if smoothed else penalty


def total_error(candidates: Candidates, weights: Floats, error: Error) -> float:
    """The error of the lists' winners under some weights."""
    return float(error(candidates.chosen(candidates.choose(weights)).sum(axis=0)))


def natural_sizes(candidates: Candidates, weights: Floats) -> Floats:
    """By how much each weight moves where winners change, in the median; 0 if none ever does.

    Features have units of their own, and so have their weights. Shape (features,).
    """
    steps = [
        np.abs(changes(candidates, weights, _axis(weights, k)).steps) for k in range(len(weights))
    ]
    return np.array([float(np.median(each)) if len(each) else 0.0 for each in steps])


def _axis(weights: Floats, feature: int) -> Floats:
    axis = np.zeros_like(weights)
    axis[feature] = 1.0
    return axis


def _random_start(space: Space, random: np.random.Generator) -> Floats:
    """Somewhere within a few windows of the start."""
    away = random.exponential(size=len(space.start)) * 5 * space.windows
    signs = np.where(space.low < space.start, random.choice([-1.0, 1.0], size=len(away)), 1.0)
    return np.clip(space.start + signs * away, space.low, space.high)
