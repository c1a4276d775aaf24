"""How much a key may use: buckets that fill at a rate, and that work empties."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from lmscore.server.security.errors import QuotaExceededError
from lmscore.server.security.keys import ApiKey

Clock = Callable[[], float]

_ROUNDING = 1e-6  # units: who has waited as told is let in, whatever the clock's last digits


class Bucket:
    """Fills by ``rate`` units a second up to ``rate * burst_seconds``, at least 1.

    Work that turns out larger than what is left makes it negative: the next one waits for it.
    """

    def __init__(self, rate: float, burst_seconds: float, clock: Clock = time.monotonic) -> None:
        self.rate = rate
        self._size = max(1.0, rate * burst_seconds)
        self._clock = clock
        self._level = self._size
        self._filled_at = clock()

    def seconds_until_room(self) -> float:
        """Time until there is a whole unit, 0 if there is; in milliseconds, rounded up."""
        missing = 1 - self._filled()
        return 0.0 if missing <= _ROUNDING else math.ceil(missing / self.rate * 1000) / 1000

    def take(self, units: float) -> None:
        """Use some, whether or not they are there."""
        self._level = self._filled() - units

    def reshape(self, rate: float, burst_seconds: float) -> None:
        """Go on at another rate, with what is left or owed."""
        level = self._filled()
        self.rate = rate
        self._size = max(1.0, rate * burst_seconds)
        self._level = min(level, self._size)

    def _filled(self) -> float:
        now = self._clock()
        grown = (now - self._filled_at) * self.rate
        self._level, self._filled_at = min(self._size, self._level + grown), now
        return self._level


class Quota:
    """The buckets of a key: requests, which are counted as they come, and tokens, afterwards.

    For the event loop only. With several processes each has buckets of its own, which get an
    equal share of the rates.
    """

    def __init__(self, key: ApiKey, processes: int = 1, clock: Clock = time.monotonic) -> None:
        self._processes = processes
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._name = key.name
        self.set_limits(key)

    def set_limits(self, key: ApiKey) -> None:
        """Take over what the key's table says now."""
        settings = key.settings
        rates = {"requests": settings.requests_per_second, "tokens": settings.tokens_per_second}
        for unit, rate in rates.items():
            if rate is None:
                self._buckets.pop(unit, None)
                continue
            share = rate / self._processes
            if unit in self._buckets:
                self._buckets[unit].reshape(share, settings.burst_seconds)
            else:
                self._buckets[unit] = Bucket(share, settings.burst_seconds, self._clock)

    def admit(self) -> None:
        """Count a request. Raises QuotaExceededError if there is no room for it."""
        unit, seconds = self._longest_wait()
        if seconds > 0:
            rate = self._buckets[unit].rate
            raise QuotaExceededError(self._name, unit, rate, seconds)
        self._take("requests", 1)

    async def wait(self) -> None:
        """Count a request as soon as there is room for it."""
        while True:
            _, seconds = self._longest_wait()
            if seconds == 0:
                break
            await asyncio.sleep(seconds)
        self._take("requests", 1)

    def charge(self, tokens: int) -> None:
        """Count tokens that were scored, read or written."""
        self._take("tokens", tokens)

    def _longest_wait(self) -> tuple[str, float]:
        waits = [(unit, bucket.seconds_until_room()) for unit, bucket in self._buckets.items()]
        return max(waits, key=lambda each: each[1], default=("", 0.0))

    def _take(self, unit: str, units: int) -> None:
        if unit in self._buckets:
            self._buckets[unit].take(units)


_current: ContextVar[Quota | None] = ContextVar("quota", default=None)


@contextmanager
def charging(quota: Quota) -> Iterator[None]:
    """Have this task, and those that it starts, work at the expense of a quota."""
    token = _current.set(quota)
    try:
        yield
    finally:
        _current.reset(token)


def charge(tokens: int) -> None:
    """Count tokens for the key of the call at hand, if it has one."""
    quota = _current.get()
    if quota is not None:
        quota.charge(tokens)


async def quota_turn() -> None:
    """Wait until the key of the call at hand, if it has one, may make another request."""
    quota = _current.get()
    if quota is not None:
        await quota.wait()
