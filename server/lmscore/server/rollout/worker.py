"""A thread that does one piece of work after the other, and that no exit waits for."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")


class Worker:
    """Starts with its first piece of work.

    Niceness is added to the thread's priority where the system has one for each thread, as Linux
    does, so that others go before it. Threads that it starts have the same.
    """

    def __init__(self, name: str, niceness: int = 0) -> None:
        self._name = name
        self._niceness = niceness
        self._work: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], Result]) -> Result:
        """What work gives; it is done even if nobody waits for it any more."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        done: Future[Result] = Future()
        self._work.put((work, done))
        return await asyncio.wrap_future(done)

    def close(self) -> None:
        """Do nothing more after what was begun."""
        self._work.put(None)

    def _run(self) -> None:
        if self._niceness:
            with suppress(AttributeError, OSError):  # elsewhere it has the process' priority
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        while self._do_next():
            pass

    def _do_next(self) -> bool:
        # A function of its own, so that nothing of a piece of work is held while none is there.
        item = self._work.get()
        if item is None:
            return False
        work, done = item
        if done.set_running_or_notify_cancel():
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
                done.set_exception(error)
        return True
