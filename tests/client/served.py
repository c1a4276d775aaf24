"""A real server on a real port in a thread of this process, for clients that wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from lmscore.server.settings import ModelSource, Settings
from tests.server.harness import running


@contextmanager
def served(models: dict[str, Path], **overrides: Any) -> Iterator[str]:
    """The address of a server with these models."""
    sources = tuple(ModelSource(name=name, path=path) for name, path in models.items())
    given = {"model": sources, "listen": "127.0.0.1:0", "request_log_rate": 0, **overrides}
    settings = Settings(**given)
    started: SimpleQueue[tuple[str, asyncio.AbstractEventLoop, asyncio.Event] | None] = (
        SimpleQueue()
    )

    async def serve() -> None:
        stop = asyncio.Event()
        async with running(settings) as connection:
            started.put((connection.server.address, asyncio.get_running_loop(), stop))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            started.put(None)  # so that nobody waits for a server that did not start

    thread = threading.Thread(target=run)
    thread.start()
    ready = started.get()
    assert ready is not None, "the server did not start"
    address, loop, stop = ready
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
