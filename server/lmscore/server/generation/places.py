"""Who may generate now, who waits, and who is told to come back later."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque

from lmscore.server.call import Call, current_call
from lmscore.server.errors import DeadlinePassedError, TooManyGenerationsError
from lmscore.server.scheduling.fair_queue import FairQueue
from lmscore.server.scheduling.load import part_of, too_much
from lmscore.server.scheduling.rates import Durations

_UNKNOWN_RETRY_SECONDS = 1.0
"""When to try again if nobody has waited yet for as long as it took."""


class _Waiting:
    """A call in line."""

    def __init__(self, call: Call, rows: int) -> None:
        self.call, self.rows, self.cost = call, rows, float(rows)
        self.since = time.monotonic()
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Places:
    """The rows of a model's batch, given to calls in turn: see FairQueue.

    For the event loop only. A call whose turn it is waits until its rows are free, and nobody
    passes it who came later with the same right. A call whose reader is slow gives its rows back,
    counts among those that wait until it has them again, and gets them first.
    """

    def __init__(self, rows: int, max_waiting: int) -> None:
        self._free = rows
        self._max_waiting = max_waiting
        self._line: FairQueue[_Waiting] = FairQueue()
        self._returning: deque[_Waiting] = deque()
        self._of_caller: Counter[str] = Counter()
        self._waits = Durations()
        self.paused = 0

    @property
    def waiting(self) -> int:
        """Calls without rows: those in line, and those that are paused."""
        return len(self._line) + len(self._returning) + self.paused

    async def enter(self, rows: int) -> None:
        """Wait for rows; TooManyGenerationsError if too many calls wait already."""
        waiting = _Waiting(current_call(), rows)
        if self.waiting or rows > self._free:
            self._check(waiting.call)
        self._line.add(waiting)
        self._of_caller[waiting.call.caller] += 1
        await self._granted(waiting)

    async def return_from_pause(self, rows: int) -> None:
        """Wait for rows before anybody who has had none yet."""
        self.paused -= 1
        waiting = _Waiting(current_call(), rows)
        self._returning.append(waiting)
        await self._granted(waiting)

    def pause(self, rows: int) -> None:
        """Give rows back for a while."""
        self.paused += 1
        self.leave(rows)

    def leave(self, rows: int) -> None:
        """Give rows back."""
        self._free += rows
        self._grant()

    def _check(self, call: Call) -> None:
        limit = self._max_waiting * part_of(call.priority)
        if too_much(self.waiting, self._of_caller[call.caller], 1, limit) > 0:
            seconds = self._waits.until_one_ends(self.waiting, _UNKNOWN_RETRY_SECONDS)
            raise TooManyGenerationsError(self.waiting, seconds)

    def _grant(self) -> None:
        while (waiting := self._next()) is not None:
            if waiting.granted.done():  # who waited has gone
                self._drop(waiting)
            elif waiting.call.remaining_seconds <= 0:
                self._drop(waiting)
                waiting.granted.set_exception(DeadlinePassedError())
            elif waiting.rows <= self._free:
                self._take(waiting)
                self._free -= waiting.rows
                waiting.granted.set_result(None)
            else:
                return

    def _next(self) -> _Waiting | None:
        return self._returning[0] if self._returning else self._line.peek()

    def _take(self, waiting: _Waiting) -> None:
        if self._returning:
            self._returning.popleft()
        else:
            self._line.take(waiting)
            self._forget(waiting.call)

    def _drop(self, waiting: _Waiting) -> None:
        if waiting in self._returning:
            self._returning.remove(waiting)
        elif self._line.remove(waiting):
            self._forget(waiting.call)

    def _forget(self, call: Call) -> None:
        self._of_caller[call.caller] -= 1
        if not self._of_caller[call.caller]:
            del self._of_caller[call.caller]

    async def _granted(self, waiting: _Waiting) -> None:
        self._grant()
        if waiting.granted.done():
            await waiting.granted
            return
        try:
            await waiting.granted
        except asyncio.CancelledError:
            if waiting.granted.cancelled():
                self._drop(waiting)
                self._grant()  # those behind may need fewer
            elif waiting.granted.exception() is None:
                self.leave(waiting.rows)
            raise
        finally:
            waited = time.monotonic() - waiting.since
            waiting.call.spent(queue_seconds=waited)
            self._waits.add(waited)
