"""A line in the log for every call, when it ends; no more of them than is bearable."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping

import grpc
import structlog

from lmscore.server.call import Call
from lmscore.server.observer import Ending

log = structlog.get_logger()


class RequestLog:
    """Writes up to so many lines a second, half of which only failures may take.

    What is left out is counted, and told when the second is over.
    """

    def __init__(self, lines_a_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        """The clock is that of the calls' beginnings."""
        self._clock = clock
        self._most = lines_a_second
        self._most_answered = (lines_a_second + 1) // 2
        self._written = 0  # in this second
        self._left_out: Counter[str] = Counter()  # in this second, by code
        self._second_end = 0.0

    def began(self, call: Call, metadata: Mapping[str, str]) -> None:
        """Nothing is written of a call that runs."""

    def ended(self, call: Call, ending: Ending) -> None:
        """Write its line, if there is room for it."""
        now = self._clock()
        if now >= self._second_end:
            self._tell_left_out()
            self._written, self._second_end = 0, now + 1.0
        answered = ending.code is grpc.StatusCode.OK
        if self._written >= (self._most_answered if answered else self._most):
            self._leave_out(ending.code.name)
            return
        self._written += 1
        _write(call, ending, now)

    def _leave_out(self, code: str) -> None:
        if not self._left_out:
            delay = max(0.0, self._second_end - self._clock())
            asyncio.get_running_loop().call_later(delay, self._tell_left_out)
        self._left_out[code] += 1

    def _tell_left_out(self) -> None:
        if self._left_out:
            codes = dict(sorted(self._left_out.items()))
            log.info("requests left out of the log", requests=self._left_out.total(), codes=codes)
            self._left_out.clear()


def _write(call: Call, ending: Ending, now: float) -> None:
    level = log.info if ending.code is grpc.StatusCode.OK else log.warning
    level(
        "request",
        id=call.id,
        method=call.method,
        model=call.model,
        version=call.version,
        code=ending.code.name,
        reason=ending.reason,
        tokens=call.tokens,
        queue_ms=_milliseconds(call.queue_seconds),
        compute_ms=_milliseconds(call.compute_seconds),
        total_ms=_milliseconds(now - call.began),
        caller=call.caller,
        **({"trace": call.trace_id} if call.trace_id else {}),
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 3)
