"""How long to wait before a worker that has ended is started again."""

from __future__ import annotations

import random
from collections.abc import Callable

SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 30.0
STEADY_SECONDS = 60.0
"""A worker that has served for so long starts with the shortest delay again."""


class Backoff:
    """Delays that double from one failure to the next, each with a share left to chance."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance  # from 0 to 1
        self._next_seconds = SHORTEST_SECONDS

    def delay_seconds(self, served_seconds: float) -> float:
        """What to wait after a worker that served for so long."""
        if served_seconds >= STEADY_SECONDS:
            self._next_seconds = SHORTEST_SECONDS
        longest = self._next_seconds
        self._next_seconds = min(2 * longest, LONGEST_SECONDS)
        # Workers that ended together must not all start together.
        return longest * (1 + self._chance()) / 2
