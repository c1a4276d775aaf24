"""Who waits for loops to be compiled can be told so: it takes up to a minute, once a processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.event import Listener, install_listener


class _FirstCompilation(Listener):
    """Tells of the first event; code that was kept from an earlier run causes none."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def on_start(self, _: Any) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    def on_end(self, _: Any) -> None:
        pass


@contextmanager
def when_compiling(tell: Callable[[], None]) -> Iterator[None]:
    """Call ``tell`` once if anything is compiled until the end of the block, in any thread."""
    with install_listener("numba:compile", _FirstCompilation(tell)):
        yield
