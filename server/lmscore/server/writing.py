"""Writes to a stream that are never left half done."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


async def write_whole(context: Context, message: Message) -> None:
    """Write a message; whoever is cancelled meanwhile is so when it has been written.

    gRPC can send no status while a message is under way: a call that was aborted then would never
    end for its caller.
    """
    write = asyncio.ensure_future(context.write(message))
    try:
        await asyncio.shield(write)
    except asyncio.CancelledError:
        await asyncio.wait({write})
        if not write.cancelled():
            write.exception()  # the call has gone, and nobody is left to tell
        raise
