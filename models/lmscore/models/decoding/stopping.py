"""Stop strings in a stream of bytes that arrives in pieces, and whole characters out of it."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

REPLACEMENT = "\ufffd"
"""Stands for bytes that are no UTF-8."""


class StopStrings:
    """Strings that end a text; of several, the one that ends first, and of those the longest."""

    def __init__(self, strings: Iterable[bytes]) -> None:
        self.strings = tuple(dict.fromkeys(strings))
        self._beginnings = frozenset(s[:n] for s in self.strings for n in range(1, len(s)))
        self._longest = max(map(len, self._beginnings), default=0)

    def find(self, data: bytes, seen: int) -> tuple[int, int] | None:
        """Where the stop string begins and ends that ends first, beyond the bytes seen before."""
        found = []
        for string in self.strings:
            begin = data.find(string, max(0, seen + 1 - len(string)))
            if begin >= 0:
                found.append((begin + len(string), begin))
        if not found:
            return None
        end, begin = min(found)
        return begin, end

    def held_back(self, data: bytes) -> int:
        """How many of the last bytes may be the beginning of a stop string."""
        for length in range(min(self._longest, len(data)), 0, -1):
            if data[-length:] in self._beginnings:
                return length
        return 0


class TextStream:
    """Text from bytes in pieces: valid UTF-8 at any time, and none of a stop string.

    The pieces that push and finish return make up the text before the first stop string, as if
    all bytes had been decoded at once. A byte that can be part of no character becomes U+FFFD.
    """

    def __init__(self, stops: StopStrings) -> None:
        self._stops = stops
        self._held = b""  # may be the beginning of a stop string
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self.stopped = False
        """Whether a stop string has come; the text is complete then."""

    def push(self, data: bytes, *, may_stop: bool = True) -> str:
        """The text that more bytes make certain; where may_stop is False, no stop ends in them."""
        if self.stopped:
            return ""
        seen = len(self._held)
        data = self._held + data
        found = self._stops.find(data, seen) if may_stop else None
        if found:
            self.stopped = True
            self._held = b""
            return self._characters.decode(data[: found[0]], final=True)
        certain = len(data) - self._stops.held_back(data)
        self._held = data[certain:]
        return self._characters.decode(data[:certain])

    def finish(self) -> str:
        """What was still held back when no more bytes come."""
        if self.stopped:
            return ""
        held, self._held = self._held, b""
        self.stopped = True
        return self._characters.decode(held, final=True)
