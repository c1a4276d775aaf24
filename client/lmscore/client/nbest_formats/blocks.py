"""Lists out of rows that name them: a list is a contiguous block of rows with one id."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby

from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.textfile import FileError


@dataclass(frozen=True, slots=True)
class Row:
    """A hypothesis, where it stands, and whose it is."""

    path: str
    line: int
    id: str
    hypothesis: Hypothesis


def blocks(rows: Iterable[Row]) -> Iterator[NBestList]:
    """The lists; FileError for one that goes on after others."""
    seen = SeenIds()
    for name, block in groupby(rows, key=lambda row: row.id):
        first = next(block)
        if not seen.add(name):
            problem = (
                f"list {name} goes on here, but other lists stand in between: "
                "sort the file by lists first"
            )
            raise FileError(first.path, problem, line=first.line)
        yield NBestList(name, tuple(row.hypothesis for row in chain([first], block)))


class SeenIds:
    """Which ids there were, in 12 to 24 bytes an id: an open-addressing table of 64-bit hashes.

    That two of n ids share a hash has a probability of n² / 2⁶⁵: with ten million, 3 in a million.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))  # 0 is free
        self._count = 0

    def add(self, name: str) -> bool:
        """Remember an id; whether it is new."""
        key = hash(name) % 2**64 or 1
        slot = self._slot(key)
        if self._slots[slot]:
            return False
        self._slots[slot] = key
        self._count += 1
        if self._count * 3 > len(self._slots) * 2:
            self._grow()
        return True

    def _slot(self, key: int) -> int:
        """Where a key is, or would be."""
        slot = key % len(self._slots)
        while self._slots[slot] not in {0, key}:
            slot = (slot + 1) % len(self._slots)
        return slot

    def _grow(self) -> None:
        keys = self._slots
        self._slots = array("Q", bytes(8 * 2 * len(keys)))
        for key in keys:
            if key:
                self._slots[self._slot(key)] = key
