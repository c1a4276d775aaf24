"""Which calls may be in progress, and how much memory their messages may take."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextvars import ContextVar

from lmscore.server.call import Call, Priority
from lmscore.server.errors import TooManyCallsError
from lmscore.server.observer import Observer
from lmscore.server.scheduling.load import Backlog, Load, QueueLimits, part_of
from lmscore.server.scheduling.observer import WorkObserver
from lmscore.server.scheduling.rates import Durations

_UNKNOWN_RETRY_SECONDS = 0.5
"""When to try again before any call has ended."""


class Admission:
    """Bounds the calls in progress and the bytes they hold: of requests, and of replies being sent.

    For the event loop only. A call that would be too much is refused. A stream is not, but waits
    before it reads on: what streams have read leaves room for other calls. Callers share the room
    as they share a queue: see Backlog.
    """

    def __init__(
        self,
        max_calls: int = 4096,
        max_bytes: int = 512 * 2**20,
        observer: WorkObserver | None = None,
    ) -> None:
        self._max_bytes_read = max_bytes * part_of(Priority.BULK)
        self._observer: WorkObserver = observer or Observer()
        self._held = Backlog(QueueLimits(max_calls, 1, max_bytes))
        self._durations = Durations()
        self._line: deque[_Reading] = deque()

    @property
    def calls(self) -> int:
        """Calls in progress."""
        return self._held.requests

    @property
    def held_bytes(self) -> int:
        """Bytes of their messages."""
        return self._held.size

    def enter(self, call: Call, size: int) -> Place:
        """A place for a call whose request has so many bytes. Raises TooManyCallsError."""
        excess = self._held.excess(call, Load(1, 0, size))
        if excess is not None:
            self._observer.refused(TooManyCallsError.reason)
            raise self._refusal(excess[1])
        return Place(self, call, size)

    def take(self, call: Call, load: Load) -> None:
        """Count what a call takes."""
        self._held.add(call, load)

    def give_back(self, call: Call, load: Load) -> None:
        """Count what a call takes no more."""
        self._held.remove(call, load)
        while self._line and (self._line[0].fits.done() or self._has_room(self._line[0].size)):
            self._line.popleft().go_on()

    async def room(self, place: Place, size: int) -> None:
        """Wait until a stream may hold so many bytes more, which it then does."""
        if not self._line and self._has_room(size):
            place.hold(size)
            return
        reading = _Reading(place, size)
        self._line.append(reading)
        await reading.fits

    def ended(self, seconds: float) -> None:
        """Count how long a call took."""
        self._durations.add(seconds)

    def _has_room(self, size: int) -> bool:
        return not self.held_bytes or self.held_bytes + size <= self._max_bytes_read

    def _refusal(self, unit: str) -> TooManyCallsError:
        amount, unit = (self.calls, "calls") if unit == "requests" else (self.held_bytes, "bytes")
        seconds = self._durations.until_one_ends(self.calls, _UNKNOWN_RETRY_SECONDS)
        return TooManyCallsError(amount, unit, seconds)


class Place:
    """A call in progress, with the bytes it holds."""

    def __init__(self, admission: Admission, call: Call, size: int) -> None:
        self._admission, self._call = admission, call
        self._bytes = size  # of requests, and of the reply that is being sent
        self._reply_bytes = 0
        self._since = time.monotonic()
        self._left = False
        admission.take(call, Load(1, 0, size))

    async def read(self, size: int) -> None:
        """Hold a further request of a stream, once there is room for it."""
        await self._admission.room(self, size)

    def hold(self, size: int) -> None:
        """Hold so many bytes more."""
        if not self._left:
            self._bytes += size
            self._admission.take(self._call, Load(0, 0, size))

    def let_go(self, size: int) -> None:
        """Hold so many bytes less."""
        if not self._left:
            self._bytes -= size
            self._admission.give_back(self._call, Load(0, 0, size))

    def sending(self, size: int) -> None:
        """Hold a reply that is being sent."""
        self._reply_bytes += size
        self.hold(size)

    def sent(self) -> None:
        """Hold no reply any more."""
        self.let_go(self._reply_bytes)
        self._reply_bytes = 0

    def leave(self) -> None:
        """Hold nothing any more: the call has ended, and its reply is sent."""
        self._left = True
        self._admission.ended(time.monotonic() - self._since)
        self._admission.give_back(self._call, Load(1, 0, self._bytes))


class _Reading:
    """A stream that would hold more."""

    def __init__(self, place: Place, size: int) -> None:
        self.place, self.size = place, size
        self.fits: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def go_on(self) -> None:
        if not self.fits.done():  # or it has gone
            self.place.hold(self.size)
            self.fits.set_result(None)


_current: ContextVar[Place | None] = ContextVar("place", default=None)


def current_place() -> Place:
    """The place of the call at hand; one without bounds for work that no call asked for."""
    place = _current.get()
    return place if place is not None else Place(Admission(), Call(method="", caller=""), 0)


class in_place:  # noqa: N801 - a context manager, used at every call
    """Make a place the current one, for this task and those that it starts."""

    __slots__ = ("_place", "_token")

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> None:
        self._token = _current.set(self._place)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
