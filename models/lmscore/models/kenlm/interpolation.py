"""Where to look next in sorted numbers that are spread evenly."""

from __future__ import annotations

from typing import Any

from lmscore.models.compiled import ONE, i64, inline, u64

_GUESSES = 16  # evenly spread numbers need far fewer; then halving bounds the work


@inline
def next_pivot(step: int, offset: Any, span: Any, width: int) -> int:
    """Where among width numbers a key may stand that is offset above the one before them.

    span is the difference of the numbers that enclose them. Numbers over 32 bits lose their low
    halves, so that the product does not overflow.
    """
    if step >= _GUESSES:
        return width >> 1
    if span >> u64(32):
        offset, span = offset >> u64(32), span >> u64(32)
    guess = (offset * u64(width)) // (span + ONE)
    pivot: int = min(i64(guess & u64(0x7FFFFFFFFFFFFFFF)), width - 1)
    return pivot
