"""KenLM's hash tables: linear probing, keys of 64 bits, 0 for an empty bucket.

The home of a key is key modulo the number of buckets. Source: KenLM's util/probing_hash_table.hh.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import ZERO, i64, inline, load_u64
from lmscore.models.errors import ModelFormatError
from lmscore.models.kenlm.sections import Sections

KEY_BYTES = 8


class HashTable(NamedTuple):
    """Where a table is in a file; a bucket is a key and its values."""

    file: NDArray[np.uint8]
    begin: int
    bucket_bytes: int
    buckets: Any  # np.uint64


def take_buckets(
    sections: Sections, what: str, entries: int, multiplier: float, bucket_bytes: int
) -> tuple[int, int]:
    """Where a table of so many entries begins, and its number of buckets."""
    if entries * multiplier > len(sections.file):
        problem = f"the file cannot hold its {entries} {what} in {multiplier:g} times the buckets"
        raise ModelFormatError(sections.path, problem)
    # In single precision, as KenLM computes it.
    buckets = max(entries + 1, int(np.float32(multiplier) * np.float32(entries)))
    return sections.take(bucket_bytes * buckets, what), buckets


@inline
def home(table: HashTable, key: Any) -> int:
    """Where the search for a key begins."""
    bucket: int = i64(key % table.buckets)
    return table.begin + bucket * table.bucket_bytes


@inline
def find(table: HashTable, key: Any, at: int) -> int:
    """Where the key's bucket begins, searching from its home on, or -1.

    Some bucket is empty unless the table is damaged; then the search ends after one round.
    """
    end = table.begin + i64(table.buckets) * table.bucket_bytes
    for _ in range(i64(table.buckets)):
        found = load_u64(table.file, at)
        if found == key:
            return at
        if found == ZERO:
            return -1
        at += table.bucket_bytes
        if at == end:
            at = table.begin
    return -1
