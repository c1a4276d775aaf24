"""What has been measured of the work: how fast it goes, and how many tokens texts have."""

from __future__ import annotations

_HALF_LIFE_SECONDS = 10.0
"""Work that was done so long before, in time spent working, counts half as much."""

_ENOUGH_SECONDS = 0.05
_ENOUGH_PIECES = 8

BYTES_PER_TOKEN = 4.0
"""Of texts of a model that has read none yet."""


class Throughput:
    """What a thread gets done in a second. For one thread at a time."""

    def __init__(self) -> None:
        self._cost = 0.0
        self._seconds = 0.0
        self._pieces = 0

    def add(self, cost: float, seconds: float) -> None:
        """Count a piece of work."""
        kept = 0.5 ** (seconds / _HALF_LIFE_SECONDS)
        self._cost = self._cost * kept + cost
        self._seconds = self._seconds * kept + seconds
        self._pieces += 1

    @property
    def per_second(self) -> float | None:
        """Cost a second; None until enough has been measured."""
        if self._pieces < _ENOUGH_PIECES or self._seconds < _ENOUGH_SECONDS:
            return None
        return self._cost / self._seconds


class TokenEstimates:
    """How many tokens texts have, before they are split. For one thread at a time."""

    def __init__(self) -> None:
        self._bytes_per_token: dict[int, float] = {}  # by the model's id()

    def tokens(self, model: object, size: int) -> int:
        """Tokens in so many bytes, as far as can be told."""
        return int(size / self._bytes_per_token.get(id(model), BYTES_PER_TOKEN))

    def learn(self, model: object, size: int, tokens: int) -> None:
        """Take into account that so many bytes had so many tokens."""
        if size <= 0 or tokens <= 0:
            return
        if len(self._bytes_per_token) > 256:  # models come and go
            self._bytes_per_token.clear()
        before = self._bytes_per_token.get(id(model), size / tokens)
        self._bytes_per_token[id(model)] = before + (size / tokens - before) / 8


class Durations:
    """How long something takes lately."""

    def __init__(self) -> None:
        self._mean: float | None = None

    def add(self, seconds: float) -> None:
        """Count one that has ended."""
        before = seconds if self._mean is None else self._mean
        self._mean = before + (seconds - before) / 16

    def until_one_ends(self, running: int, otherwise: float) -> float:
        """When one of so many that run will have ended, within bounds that a caller can keep."""
        if self._mean is None:
            return otherwise
        return retry_delay(self._mean / max(running, 1))


def retry_delay(seconds: float) -> float:
    """A time to wait, neither so short that it is no wait nor so long that nobody would."""
    return min(max(seconds, 0.05), 30.0)
