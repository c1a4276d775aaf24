"""Bringing rows together that share a key: a counting sort."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel


def group_rows(
    keys: NDArray[np.uint32], key_count: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Rows in the order of their keys, and of themselves where keys are equal.

    Also where the rows of each key begin, and the number of rows: (key_count + 1,).
    """
    begins = np.concatenate((np.cumsum(np.bincount(keys, minlength=key_count)), [len(keys)]))
    rows = np.empty(len(keys), np.uint32)
    _place(keys, begins, rows)
    return rows, begins


@kernel
def _place(keys: NDArray[np.uint32], begins: NDArray[np.int64], rows: NDArray[np.uint32]) -> None:
    """Fill in rows; begins comes with where each key ends."""
    for row in range(keys.size - 1, -1, -1):
        begins[keys[row]] -= 1
        rows[begins[keys[row]]] = row
