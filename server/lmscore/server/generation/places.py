"""Who may generate now, who waits, and who is told to come back later."""

from __future__ import annotations

import asyncio
from collections import deque

from lmscore.server.errors import TooManyGenerationsError


class Places:
    """The rows of a model's batch, given to calls in the order in which they came.

    For the event loop only. A call whose reader is slow gives its rows back and counts among those
    that wait until it has them again.
    """

    def __init__(self, rows: int, max_waiting: int) -> None:
        self._free = rows
        self._max_waiting = max_waiting
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.paused = 0

    @property
    def waiting(self) -> int:
        """Calls without rows: those in line, and those that are paused."""
        return len(self._line) + self.paused

    async def enter(self, rows: int) -> None:
        """Wait for rows; TooManyGenerationsError if too many calls wait already."""
        if self._line or rows > self._free or self.paused >= self._max_waiting:
            if self.waiting >= self._max_waiting:
                raise TooManyGenerationsError(self.waiting)
            await self._wait(rows, first=False)
        else:
            self._free -= rows

    async def return_from_pause(self, rows: int) -> None:
        """Wait for rows before anybody who has had none yet."""
        self.paused -= 1
        if rows > self._free:
            await self._wait(rows, first=True)
        else:
            self._free -= rows

    def pause(self, rows: int) -> None:
        """Give rows back for a while."""
        self.paused += 1
        self.leave(rows)

    def leave(self, rows: int) -> None:
        """Give rows back."""
        self._free += rows
        self._grant()

    def _grant(self) -> None:
        while self._line and self._line[0][0] <= self._free:
            rows, granted = self._line.popleft()
            if not granted.done():  # or who waited has gone
                self._free -= rows
                granted.set_result(None)

    async def _wait(self, rows: int, *, first: bool) -> None:
        granted = asyncio.get_running_loop().create_future()
        if first:
            self._line.appendleft((rows, granted))
        else:
            self._line.append((rows, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.leave(rows)
            elif (rows, granted) in self._line:
                self._line.remove((rows, granted))
                self._grant()  # those behind may need fewer
            raise
