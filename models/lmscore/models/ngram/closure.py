"""Making a pruned model whole: every prefix and suffix of an n-gram becomes an n-gram too.

What is added is a blank: it has no back-off, and its probability, NaN here, is what backing off
gives, so that it changes no score. KenLM completes suffixes in the same way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmscore.models.ngram.table import NgramTable, OrderTable


def with_blanks(table: NgramTable) -> NgramTable:
    """The table with blanks for the prefixes and suffixes that it lacks."""
    orders = list(table.orders)
    for length in range(len(orders), 2, -1):
        ids = orders[length - 1].ids
        affixes = np.concatenate((ids[:, :-1], ids[:, 1:]))
        shorter = orders[length - 2]
        missing = _missing(affixes, shorter.ids)
        orders[length - 2] = OrderTable(
            np.concatenate((shorter.ids, missing)),
            np.append(shorter.log10_probs, np.full(len(missing), np.nan, np.float32)),
            np.append(shorter.log10_backoffs, np.zeros(len(missing), np.float32)),
        )
    return replace(table, orders=orders)


def _missing(wanted: NDArray[np.uint32], present: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The rows of wanted, each once, that are not rows of present."""
    rows = np.concatenate((present, wanted))
    numbers = _row_numbers(rows)
    known, asked = numbers[: len(present)], numbers[len(present) :]
    new = ~np.isin(asked, known)
    first = np.unique(asked[new], return_index=True)[1]
    missing: NDArray[np.uint32] = wanted[new][first]
    return missing


def _row_numbers(rows: NDArray[np.uint32]) -> NDArray[np.int64]:
    """A number for each row, the same for equal rows only."""
    numbers = rows[:, 0].astype(np.int64)
    for column in rows.T[1:]:
        pairs = numbers << 32 | column
        numbers = np.unique(pairs, return_inverse=True)[1]
    return numbers
