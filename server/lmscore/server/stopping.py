"""Signals that end a server: the first one gently, the second one at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(frozen=True)
class StopSignals:
    """What has been asked for so far."""

    first: asyncio.Event
    second: asyncio.Event


def on_signals() -> StopSignals:
    """Take SIGTERM and SIGINT from now on."""
    signals = StopSignals(asyncio.Event(), asyncio.Event())

    def received() -> None:
        (signals.second if signals.first.is_set() else signals.first).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received)
    return signals


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Do the work, or give it up when the event comes; tells whether it was done."""
    task = asyncio.create_task(work)
    waiter = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if task.done():
        await task  # raises what it raised
        return True
    task.cancel()
    await asyncio.wait({task})
    return False


def leave(code: int) -> NoReturn:
    """End the process at once: taking a loaded one apart takes seconds, and changes nothing."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
