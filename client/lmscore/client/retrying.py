"""When a call that found the server busy is made again.

gRPC itself does so for UNAVAILABLE (``channel.py``); this is about RESOURCE_EXHAUSTED, which says
how long to wait. What waits, a thread or a task, is for the clients.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from grpc import StatusCode

from lmscore.client.errors import LmscoreError, QuotaExceededError

SHORTEST_SPREAD_SECONDS = 0.05
_LONGEST_DOUBLING = 3


class RetryBudget:
    """Stops retries when most calls fail: they would only add to the load. For any thread.

    It is gRPC's throttle: a refusal takes a token, an answer gives half of one back, and there are
    retries while more than half of the tokens are there.
    """

    def __init__(self, max_tokens: float = 20.0, token_ratio: float = 0.5) -> None:
        self._max = max_tokens
        self._ratio = token_ratio
        self._tokens = max_tokens
        self._lock = threading.Lock()

    def refused(self) -> bool:
        """Count a refusal; tells whether the call may be made again."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1)
            return self._tokens > self._max / 2

    def answered(self) -> None:
        """Count an answer."""
        with self._lock:
            self._tokens = min(self._max, self._tokens + self._ratio)


class Retries:
    """The retries of a client, whose calls share a budget."""

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts
        self._budget = RetryBudget()

    def of_call(self, seconds: float) -> Attempts:
        """The attempts of one call, within its timeout."""
        return Attempts(seconds, self._max_attempts, self._budget)

    def of_stream(self, seconds: float) -> Attempts:
        """The attempts at one answer of a stream, of which nobody wants only the first half.

        They end with the timeout alone. A stream tries again one request at a time, and waits
        longer each time, which is no load to speak of.
        """
        most = self._max_attempts if self._max_attempts == 1 else None
        return Attempts(seconds, most, None)


class Attempts:
    """One call, perhaps made several times, and the time that is left for it."""

    def __init__(
        self,
        seconds: float,
        max_attempts: int | None,
        budget: RetryBudget | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._max_attempts = max_attempts
        self._budget = budget
        self._made = 0

    @property
    def seconds_left(self) -> float:
        """What is left of the call's timeout."""
        return max(0.0, self._end - self._clock())

    def answered(self) -> None:
        """Say that there was an answer."""
        if self._budget is not None:
            self._budget.answered()

    def pause_after(self, error: LmscoreError, default: float | None = None) -> float | None:
        """Seconds to wait before the call is made again; None if it is not to be.

        At least as long as the server says, or ``default`` where it says nothing, and random
        beyond that: those who were refused together shall not come back together.
        """
        delay = default if error.retry_after_seconds is None else error.retry_after_seconds
        if error.code is not StatusCode.RESOURCE_EXHAUSTED or delay is None:
            return None
        self._made += 1
        if not self._may_try_again(error) or self._made == self._max_attempts:
            return None
        spread = max(SHORTEST_SPREAD_SECONDS, delay / 4)
        spread *= 2 ** min(self._made - 1, _LONGEST_DOUBLING)
        pause = delay + random.uniform(0, spread)  # noqa: S311 - nothing is secret about it
        if delay >= self.seconds_left:
            return None
        return min(pause, (delay + self.seconds_left) / 2)  # and leave time for the answer

    def _may_try_again(self, error: LmscoreError) -> bool:
        # A quota says when it has room, and nothing of the server's load.
        if self._budget is None or isinstance(error, QuotaExceededError):
            return True
        return self._budget.refused()
