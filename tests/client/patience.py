"""Claims about what happens when time is up, on machines that stand still now and then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from lmscore.client import LmscoreError

TIMEOUTS = (0.2, 1.0, 5.0, 25.0)
TOO_EARLY = (AssertionError, LmscoreError, pytest.fail.Exception)


def patiently(attempt: Callable[[float], None]) -> None:
    """Try with a short timeout and, where it was up before its time had come, a longer one."""
    for seconds in TIMEOUTS[:-1]:
        try:
            return attempt(seconds)
        except TOO_EARLY:
            continue
    return attempt(TIMEOUTS[-1])


async def patiently_awaited(attempt: Callable[[float], Awaitable[None]]) -> None:
    """The same with what is awaited."""
    for seconds in TIMEOUTS[:-1]:
        try:
            return await attempt(seconds)
        except TOO_EARLY:
            continue
    return await attempt(TIMEOUTS[-1])
