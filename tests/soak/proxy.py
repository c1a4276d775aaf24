"""A TCP proxy that can cut, stall and throttle the connections that go through it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 1 << 16


class Proxy:
    """Passes bytes on between clients and one server; for one event loop."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.bytes_per_second: float | None = None  # of each direction of each connection
        self.accepted = 0  # connections so far
        self.refusing = 0  # so many of the next connections

    @property
    def address(self) -> str:
        """Where clients connect to."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def open_connections(self) -> int:
        """Connections of clients that pass bytes on at the moment."""
        return len(self._writers) // 2

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Cut everything and listen no more."""
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> int:
        """End every connection at once, in the middle of whatever it carries; tells how many."""
        count = self.open_connections
        for writer in self._writers:
            writer.transport.abort()
        return count

    def stall(self) -> None:
        """Pass no bytes on until told to go on."""
        self._flowing.clear()

    def go_on(self) -> None:
        """Pass bytes on again."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        if self.refusing:
            self.refusing -= 1
            self._tasks.discard(task)
            writer.transport.abort()
            return
        far_writer = None
        with suppress(OSError, asyncio.CancelledError):  # whoever was cut off finds out by itself
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._writers |= {writer, far_writer}
            await _first_ended(self._pump(reader, far_writer), self._pump(far_reader, writer))
        for each in (writer, far_writer):
            if each is not None:
                self._writers.discard(each)
                each.transport.abort()
        self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._flowing.wait()
                began = time.monotonic()
                writer.write(data)
                await writer.drain()
                if self.bytes_per_second is not None:
                    due = began + len(data) / self.bytes_per_second
                    await asyncio.sleep(due - time.monotonic())


async def _first_ended(*pumps: object) -> None:
    """Run pumps until one of them ends, and give up the others."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxy_to(target: str) -> AsyncIterator[Proxy]:
    """A running proxy in front of a server."""
    proxy = Proxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
