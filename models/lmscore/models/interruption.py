"""Giving up work that nobody waits for any more, between two pieces of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from lmscore.models.errors import ModelError

Unwanted: TypeAlias = Callable[[], bool]
"""Whether work is not wanted any more; may be asked on any thread."""


class WorkInterruptedError(ModelError):
    """Work was given up before its end, as whoever wanted it has gone."""


def _never() -> bool:
    return False


_unwanted: ContextVar[Unwanted] = ContextVar("unwanted", default=_never)


@contextmanager
def interruptible(unwanted: Unwanted) -> Iterator[None]:
    """Have what is done within it ask, now and then, whether it is still wanted."""
    token = _unwanted.set(unwanted)
    try:
        yield
    finally:
        _unwanted.reset(token)


def current() -> Unwanted:
    """What work in this thread asks; to be handed on to threads that do parts of it."""
    return _unwanted.get()


def check_wanted() -> None:
    """Raise WorkInterruptedError if the work of this thread is not wanted any more."""
    if _unwanted.get()():
        raise WorkInterruptedError("nobody waits for this work any more")
