"""Which paths are computed together: as many as fit, those with a common beginning side by side."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.network.trie import Paths

_TOKENS_A_ROW = 32
"""More tokens than that for each prefix are not in one group: equal texts take memory too."""


def groups(paths: Paths, max_rows: int) -> Iterator[NDArray[np.int64]]:
    """The paths by number, in groups of no more than so many distinct prefixes.

    A path that is longer by itself is a group of its own.
    """
    if len(paths.ids) <= max_rows:
        if len(paths):
            yield np.arange(len(paths))
        return
    order = _sorted(paths)
    bounds = np.empty(len(paths) + 1, np.int64)
    count = int(_bounds(paths.ids, paths.offsets, paths.roots, order, max_rows, bounds))
    for begin, end in pairwise(bounds[: count + 1].tolist()):
        yield order[begin:end]


def subset(paths: Paths, chosen: NDArray[np.int64]) -> Paths:
    """Some of the paths, in the order given."""
    lengths = np.diff(paths.offsets)[chosen]
    return Paths(
        paths.ids[ranges(paths.offsets[chosen], lengths)],
        np.concatenate(([0], np.cumsum(lengths))),
        paths.skipped[chosen],
        paths.roots[chosen],
    )


def ranges(begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The whole numbers begin … begin + length - 1 of one range after the other."""
    before = np.cumsum(lengths) - lengths
    numbers: NDArray[np.int64] = np.repeat(begins - before, lengths) + np.arange(lengths.sum())
    return numbers


def _sorted(paths: Paths) -> NDArray[np.int64]:
    """The paths in the order of their roots and tokens."""
    data = (paths.ids + 1).astype(">u4").tobytes()  # bytes compare as these numbers do
    offsets = (4 * paths.offsets).tolist()
    roots = paths.roots.tolist()
    keys = [(root, data[offsets[i] : offsets[i + 1]]) for i, root in enumerate(roots)]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


@kernel
def _bounds(
    ids: NDArray[np.int64],
    offsets: NDArray[np.int64],
    roots: NDArray[np.int64],
    order: NDArray[np.int64],
    max_rows: int,
    bounds: NDArray[np.int64],  # filled in: where groups begin in order, and its end
) -> int:
    """The number of groups."""
    count = 0
    rows = 0
    tokens = 0
    for place in range(order.size):
        begin, length = offsets[order[place]], offsets[order[place] + 1] - offsets[order[place]]
        shared = 0
        if place > 0 and roots[order[place]] == roots[order[place - 1]]:
            before = offsets[order[place - 1]]
            end = min(length, offsets[order[place - 1] + 1] - before)
            while shared < end and ids[begin + shared] == ids[before + shared]:
                shared += 1
        rows += length - shared
        tokens += length
        if place == 0 or rows > max_rows or tokens > _TOKENS_A_ROW * max_rows:
            bounds[count] = place
            count += 1
            rows = length
            tokens = length
    bounds[count] = order.size
    return count
