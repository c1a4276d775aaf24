"""Whether a command printed what the page shows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

Same = Callable[[str, str], bool]
"""Whether one line does for another."""

ANYTHING = "..."
"""A line that stands for any number of lines."""

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def exactly(shown: str, printed: str) -> bool:
    return shown == printed


def within(tolerance: float) -> Same:
    """The same words, and numbers that differ by at most so much, or by that share of them."""

    def same(shown: str, printed: str) -> bool:
        numbers = [[_value(each) for each in _NUMBER.findall(line)] for line in (shown, printed)]
        return _words(shown) == _words(printed) and all(
            math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
            for one, other in zip(*numbers, strict=True)
        )

    return same


def matches(shown: str, printed: str, same: Same = exactly) -> bool:
    """Whether the lines are the same; a line "..." stands for any lines, also for none."""
    return _match(_lines(shown), _lines(printed), same)


def _match(shown: list[str], printed: list[str], same: Same) -> bool:
    if not shown:
        return not printed
    if shown[0].strip() == ANYTHING:
        return any(_match(shown[1:], printed[skip:], same) for skip in range(len(printed) + 1))
    return bool(printed) and same(shown[0], printed[0]) and _match(shown[1:], printed[1:], same)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _words(line: str) -> list[str]:
    """The line without its numbers, and without the columns that their widths make."""
    return _NUMBER.sub("#", line).split()
