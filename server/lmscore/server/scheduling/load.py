"""What waits or runs, bounded in requests, tokens and bytes, and shared among callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lmscore.server.call import Call, Priority
from lmscore.server.errors import OverloadedError

COST_OF_REQUEST = 16
"""What a request takes besides its tokens, in tokens: many empty ones take time too."""

_BULK_PART = 0.75
_OWN_PER_FREE = 3.0


class Load(NamedTuple):
    """What a request, or several, put on a queue."""

    requests: int = 0
    tokens: int = 0  # as far as can be told before they are split
    size: int = 0  # bytes

    @property
    def cost(self) -> float:
        """In tokens, what it takes of a thread."""
        return self.tokens + COST_OF_REQUEST * self.requests


_NOTHING = Load()
_UNITS = ("requests", "tokens", "bytes of text")


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What may wait or run, of each queue."""

    max_requests: int = 4096
    max_tokens: int = 8 * 2**20
    max_bytes: int = 64 * 2**20


class Backlog:
    """The load of a queue. For one thread at a time.

    Bulk work gets in while less than three quarters are taken, and a caller while it has no more
    than three times what is left free: whoever comes next finds room, even behind a flood. Work
    that would be alone always gets in.
    """

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = Load(limits.max_requests, limits.max_tokens, limits.max_bytes)
        self._of_caller: dict[str, _Held] = {}
        self._all = _Held()

    @property
    def total(self) -> Load:
        """What there is of all callers."""
        return Load(self._all.requests, self._all.tokens, self._all.size)

    @property
    def requests(self) -> int:
        """How many requests there are of all callers."""
        return self._all.requests

    @property
    def size(self) -> int:
        """How many bytes there are of all callers."""
        return self._all.size

    def add(self, call: Call, load: Load) -> None:
        """Count what comes."""
        own = self._of_caller.get(call.caller)
        if own is None:
            own = self._of_caller[call.caller] = _Held()
        own.add(load)
        self._all.add(load)

    def remove(self, call: Call, load: Load) -> None:
        """Count what has ended, or has gone."""
        own = self._of_caller[call.caller]
        own.remove(load)
        if not own.requests:
            del self._of_caller[call.caller]
        self._all.remove(load)

    def excess(self, call: Call, load: Load) -> tuple[float, str] | None:
        """How large a part has to end before this gets in, and what there is too much of."""
        if not self._all.requests:
            return None
        part = part_of(call.priority)
        own, worst = self._of(call), (0.0, "")
        for unit, total, held, more, limit in zip(
            _UNITS, self.total, own, load, self._limits, strict=True
        ):
            if more and total and 2 * (total + more) > limit * part:  # else there is room for all
                worst = max(worst, (too_much(total, held, more, limit * part) / total, unit))
        return (min(1.0, worst[0]), worst[1]) if worst[0] > 0 else None

    def refusal(self, unit: str, retry_after_seconds: float) -> OverloadedError:
        """The error that says there is too much of something."""
        tokens, requests = self._all.tokens, self._all.requests
        amount = {"requests": requests, "tokens": tokens}.get(unit, self._all.size)
        return OverloadedError(amount, unit, retry_after_seconds)

    def _of(self, call: Call) -> Load:
        own = self._of_caller.get(call.caller)
        return _NOTHING if own is None else Load(own.requests, own.tokens, own.size)


class _Held:
    """A load that changes; every request changes several, several times."""

    __slots__ = ("requests", "size", "tokens")

    def __init__(self) -> None:
        self.requests = self.tokens = self.size = 0

    def add(self, load: Load) -> None:
        requests, tokens, size = load
        self.requests += requests
        self.tokens += tokens
        self.size += size

    def remove(self, load: Load) -> None:
        requests, tokens, size = load
        self.requests -= requests
        self.tokens -= tokens
        self.size -= size


def part_of(priority: Priority) -> float:
    """The part of what may wait that work of a class may take up."""
    return _BULK_PART if priority is Priority.BULK else 1.0


def too_much(total: float, own: float, more: float, limit: float) -> float:
    """By how much what there is has to shrink before a caller that has its own may add more."""
    free = limit - total - more
    if free < 0:
        return -free
    if not own:
        return 0.0
    # What goes will be the caller's own, if nobody else works: it counts on both sides.
    return max(0.0, (own + more - _OWN_PER_FREE * (free + 1)) / (1 + _OWN_PER_FREE))
