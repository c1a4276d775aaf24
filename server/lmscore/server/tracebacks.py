"""Tracebacks that tell where a bug is, and not what was being worked on."""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Iterator

WITHHELD = "(message not shown, as it can hold texts; log_texts = on shows it)"
_LONGEST_PART = 2000  # characters of a frame with its variables


def format_traceback(error: BaseException | None, *, show_texts: bool) -> str:
    """A traceback: with exceptions' messages and variables, or the places in the code alone."""
    if error is None:
        return ""
    if not show_texts:
        return "\n".join(_places(error))
    summary = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(_clipped(part) for part in summary.format()).rstrip()


def _places(error: BaseException) -> Iterator[str]:
    """Python's own form of a traceback, less what the exceptions say."""
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None:
        yield from _places(earlier)
        yield "\nThen, because of it or while it was handled:\n"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
        yield "".join(traceback.format_tb(error.__traceback__)).rstrip()
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    yield f"{name}: {WITHHELD}"
    if isinstance(error, BaseExceptionGroup):
        for number, each in enumerate(error.exceptions, start=1):
            yield f"  its exception {number} of {len(error.exceptions)}:"
            yield textwrap.indent("\n".join(_places(each)), "    ")


def _clipped(part: str) -> str:
    return part if len(part) <= _LONGEST_PART else f"{part[:_LONGEST_PART]}…\n"
