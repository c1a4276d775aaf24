"""Writes to a stream that are never left half done."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from lmscore.server.admission import current_place

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def serialized(message: Message | bytes) -> bytes:
    """A message as bytes, which it may be already."""
    return message if isinstance(message, bytes) else message.SerializeToString()


async def write_whole(context: Context, message: Message | bytes) -> None:
    """Write a message; whoever is cancelled meanwhile is so when it has been written.

    gRPC can send no status while a message is under way: a call that was aborted then would never
    end for its caller.
    """
    data, place = serialized(message), current_place()
    place.sending(len(data))
    await _to_its_end(asyncio.ensure_future(context.write(data)))
    place.sent()


class StreamWriter:
    """Writes the answers of a stream one after the other, while others are worked out."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._place = current_place()
        self._waiting: deque[tuple[bytes, Callable[[], None]]] = deque()
        self._closed = False  # after those that wait, there will be none
        self._stopped = False  # those that wait will not be written
        self._woken: asyncio.Future[None] | None = None

    def put(self, answer: bytes, written: Callable[[], None]) -> None:
        """Have an answer written, and something called then."""
        self._waiting.append((answer, written))
        self._wake()

    def close(self) -> None:
        """Let run end when all is written."""
        self._closed = True
        self._wake()

    async def run(self) -> None:
        """Write, until there is no more to come; raises what a write that fails does."""
        writing = asyncio.ensure_future(self._write_all())
        try:
            await _to_its_end(writing, self._stop)
        finally:
            self._waiting.clear()

    async def _write_all(self) -> None:
        while not self._stopped:
            while self._waiting and not self._stopped:
                answer, written = self._waiting.popleft()
                self._place.sending(len(answer))
                await self._context.write(answer)
                self._place.sent()
                written()
            if self._closed:
                break
            if not self._stopped:
                self._woken = asyncio.get_running_loop().create_future()
                await self._woken

    def _stop(self) -> None:
        self._stopped = True
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


async def _to_its_end(work: asyncio.Future[None], stop: Callable[[], None] | None = None) -> None:
    """Wait for work; whoever is cancelled meanwhile has it stop, and waits until it has."""
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # the call has gone, and nobody is left to tell
        raise
