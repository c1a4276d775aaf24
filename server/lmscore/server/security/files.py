"""Files that may be renewed while the server runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import structlog

Value = TypeVar("Value")
_Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]

log = structlog.get_logger()


class UnusableFileError(Exception):
    """A file of keys or certificates cannot be used; the message names it and says why."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


class WatchedFiles(Generic[Value]):
    """What some files say, read again when one has changed; for any thread.

    Files that cannot be used, perhaps because they are half written, change nothing: the log says
    so, once for each state that they are in. The first reading raises instead.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[], Value],
        *,
        interval_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = paths
        self._read = read
        self._interval = interval_seconds  # between two looks at the files
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._value = read()
        self._looked_at = clock()

    def value(self) -> Value:
        """What the files say now, or said when they could last be used."""
        with self._lock:
            now = self._clock()
            if now - self._looked_at >= self._interval:
                self._looked_at = now
                self._look()
            return self._value

    def _look(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        files = [str(path) for path in self._paths]
        try:
            self._value = self._read()
        except UnusableFileError as error:
            problem = str(error)
            log.error("changed files cannot be used; what they said before holds", problem=problem)
        else:
            log.info("changed files read", files=files)

    def _stamp(self) -> _Stamp:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises UnusableFileError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableFileError(path, error.strerror or str(error)) from None
