"""Making a pruned model whole: every prefix and suffix of an n-gram becomes an n-gram too.

What is added is a blank: it has no back-off, and its probability, NaN here, is what backing off
gives, so that it changes no score. KenLM completes suffixes in the same way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import ONE, ZERO, i64, inline, kernel, u64
from lmscore.models.ngram.table import NgramTable, OrderTable
from lmscore.models.ngram.words import HASH_MULTIPLIER


def with_blanks(table: NgramTable) -> NgramTable:
    """The table with blanks for the prefixes and suffixes that it lacks, after its own rows."""
    orders = list(table.orders)
    for length in range(len(orders), 2, -1):
        shorter = orders[length - 2]
        ids = _with_affixes(shorter.ids, orders[length - 1].ids)
        blanks = len(ids) - len(shorter)
        orders[length - 2] = OrderTable(
            ids,
            np.append(shorter.log10_probs, np.full(blanks, np.nan, np.float32)),
            np.append(shorter.log10_backoffs, np.zeros(blanks, np.float32)),
        )
    return replace(table, orders=orders)


def _with_affixes(shorter: NDArray[np.uint32], longer: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Rows of ids, and after them the prefixes and suffixes of longer rows that are not there."""
    most = len(shorter) + 2 * len(longer)
    rows = np.empty((most, shorter.shape[1]), np.uint32)
    rows[: len(shorter)] = shorter
    places = np.zeros(1 << (2 * most).bit_length(), np.uint32)
    return rows[: _add_affixes(rows, len(shorter), longer, places)].copy()


@kernel
def _add_affixes(
    rows: NDArray[np.uint32],
    count: int,
    longer: NDArray[np.uint32],
    places: NDArray[np.uint32],
) -> int:
    """Enter the first count rows in places, then append what is missing; the new count."""
    length = rows.shape[1]
    for row in range(count):
        _enter(rows, row, places)
    for row in range(longer.shape[0]):
        for start in range(2):
            # The row after the last is where the affix goes, and is kept if it is new.
            for k in range(length):
                rows[count, k] = longer[row, start + k]
            count += _enter(rows, count, places)
    return count


@inline
def _enter(rows: NDArray[np.uint32], row: int, places: NDArray[np.uint32]) -> bool:
    """Enter a row in an open-addressed table of rows + 1; False if an equal one is there."""
    value = ZERO
    for k in range(rows.shape[1]):
        value = (value ^ u64(rows[row, k])) * HASH_MULTIPLIER
        value ^= value >> u64(32)
    last = u64(places.size - 1)
    place = value & last
    while places[place] != 0:
        same = 0
        for k in range(rows.shape[1]):
            same += rows[i64(places[place]) - 1, k] == rows[row, k]
        if same == rows.shape[1]:
            return False
        place = (place + ONE) & last
    places[place] = row + 1
    return True
