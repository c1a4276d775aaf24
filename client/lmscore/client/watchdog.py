"""Cancels a stream that leaves its reader waiting for too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self


class _Cancellable(Protocol):
    def cancel(self) -> bool: ...


class Watchdog:
    """Bounds every wait for an answer.

    gRPC's own deadline bounds a stream as a whole, however long its input is.
    """

    def __init__(self, call: _Cancellable, seconds: float) -> None:
        self._call = call
        self.seconds = seconds
        self._due: float | None = None  # on the monotonic clock, while a reader waits
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lmscore-watchdog", daemon=True)
        self.expired = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The reader waits for one answer."""
        self._due = time.monotonic() + self.seconds
        try:
            yield
        finally:
            self._due = None

    def _watch(self) -> None:
        # A wait that begins while this sleeps is due only after it wakes: no wait is missed.
        while not self._stopped.wait(self._pause()):
            due = self._due
            if due is not None and time.monotonic() >= due:
                self.expired = True
                self._call.cancel()
                return

    def _pause(self) -> float:
        due = self._due
        return self.seconds if due is None else max(0.0, due - time.monotonic())
