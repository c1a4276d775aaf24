"""The call at hand: who makes it, how urgent it is, and what it has taken so far."""

from __future__ import annotations

import enum
import math
import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from lmscore.server.errors import InvalidFieldError

PRIORITY_KEY = "lmscore-priority"
"""Metadata with which a caller says how urgent its call is."""


class Priority(enum.Enum):
    """Interactive calls go before bulk ones."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Stage:
    """A piece of a call's way that took time."""

    name: str  # queue or compute
    end: float  # on time.monotonic()'s clock
    seconds: float
    requests: int  # that it was done for together


@dataclass(slots=True)
class Call:
    """What the parts that share out the machine, and those that report, know of a call."""

    method: str  # for example Score
    caller: str  # whom shares and quotas are counted for: a key's name, or else a connection
    priority: Priority = Priority.INTERACTIVE
    deadline: float = math.inf  # on time.monotonic()'s clock
    model: str = ""  # empty until it is found
    version: int = 0
    tokens: int = 0  # scored or generated
    oov: int = 0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    id: str = ""  # the caller's, or one made for it
    began: float = field(default_factory=time.monotonic)  # on the same clock
    trace_id: str = ""  # hexadecimal; empty unless it is traced
    stages: list[Stage] | None = None  # kept only if it is traced

    def spent(
        self, *, queue_seconds: float = 0.0, compute_seconds: float = 0.0, requests: int = 1
    ) -> None:
        """Add what work for it has just taken, which was done for so many requests together."""
        self.queue_seconds += queue_seconds
        self.compute_seconds += compute_seconds
        if self.stages is None:
            return
        now = time.monotonic()
        if queue_seconds:
            self.stages.append(Stage("queue", now - compute_seconds, queue_seconds, requests))
        if compute_seconds:
            self.stages.append(Stage("compute", now, compute_seconds, requests))

    @property
    def remaining_seconds(self) -> float:
        """Time until its deadline; infinite if it has none."""
        return self.deadline - time.monotonic()


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call:
    """The call that this task works for; one of nobody's, for work that no call asked for."""
    call = _current.get()
    return call if call is not None else Call(method="", caller="")


class calling:  # noqa: N801 - a context manager, used at every call
    """Make a call the current one, for this task and those that it starts."""

    __slots__ = ("_call", "_token")

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> Call:
        self._token = _current.set(self._call)
        return self._call

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def priority_of(metadata: dict[str, str], method: str) -> Priority:
    """What the caller asks for; else a stream of scores is bulk work. Raises InvalidFieldError."""
    asked = metadata.get(PRIORITY_KEY)
    if asked is None:
        return Priority.BULK if method == "ScoreStream" else Priority.INTERACTIVE
    try:
        return Priority(asked)
    except ValueError:
        known = " or ".join(priority.value for priority in Priority)
        raise InvalidFieldError(f"metadata {PRIORITY_KEY}", f"{asked!r} is not {known}") from None
