"""KenLM's hash tables: linear probing, keys of 64 bits, 0 for an empty bucket.

The home of a key is key modulo the number of buckets. Source: KenLM's util/probing_hash_table.hh.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import ModelFormatError
from lmscore.models.kenlm.sections import Sections
from lmscore.models.ngram.compiled import ZERO, i64, inline, u64

KEY_UNITS = 2


class HashTable(NamedTuple):
    """A table in a file seen as units of 4 bytes: a bucket is its key's two and its values'."""

    units: NDArray[np.uint32]  # the file
    begin: int  # unit of the first bucket
    end: int
    bucket_units: int
    buckets: Any  # np.uint64


def take_buckets(
    sections: Sections, what: str, entries: int, multiplier: float, bucket_units: int
) -> tuple[int, int]:
    """Where a table of so many entries begins, in units of 4 bytes, and its number of buckets."""
    if entries * multiplier > len(sections.file):
        problem = f"the file cannot hold its {entries} {what} in {multiplier:g} times the buckets"
        raise ModelFormatError(sections.path, problem)
    # In single precision, as KenLM computes it.
    buckets = max(entries + 1, int(np.float32(multiplier) * np.float32(entries)))
    return sections.take(4 * bucket_units * buckets, what) // 4, buckets


@inline
def home(table: HashTable, key: Any) -> int:
    """The unit where the search for a key begins."""
    bucket: int = i64(key % table.buckets)
    return table.begin + bucket * table.bucket_units


@inline
def find(table: HashTable, key: Any, at: int) -> int:
    """The unit where the key's bucket begins, searching from its home on, or -1.

    Some bucket is empty unless the table is damaged; then the search ends after one round.
    """
    for _ in range(i64(table.buckets)):
        found = u64(table.units[at]) | (u64(table.units[at + 1]) << u64(32))
        if found == key:
            return at
        if found == ZERO:
            return -1
        at += table.bucket_units
        if at == table.end:
            at = table.begin
    return -1
