"""How much of a stream may be unanswered at a time."""

from __future__ import annotations

import asyncio

from lmscore.server.admission import current_place


class StreamWindow:
    """Places for the unanswered requests of one stream, bounded in number and in bytes.

    A request that is larger than the bound gets in when it would be the only one. What is in the
    window counts among what all calls hold, too. One request enters at a time.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._requests = 0
        self._bytes = 0
        self._changed: asyncio.Future[None] | None = None
        self._place = current_place()

    async def enter(self, size: int) -> None:
        """Wait for a place for a request of so many bytes."""
        while not self._has_room(size):
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        self._requests += 1
        self._bytes += size
        await self._place.read(size)

    def leave(self, size: int) -> None:
        """Give the place back, when the answer has been written."""
        self._requests -= 1
        self._bytes -= size
        self._place.let_go(size)
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _has_room(self, size: int) -> bool:
        return not self._requests or (
            self._requests < self._max_requests and self._bytes + size <= self._max_bytes
        )
