"""Work on ranges of contexts, spread over the machine's cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Result = TypeVar("Result")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_PARTS_PER_CORE = 4  # so that a core which is late does not keep the others waiting for long
_POOL = ThreadPoolExecutor(CORES, "estimation")


def even_parts(ends: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of items with about as much work in each, given where the work of each item ends."""
    parts = _PARTS_PER_CORE * CORES
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, total * np.arange(1, parts) // parts, side="left")
    bounds = np.unique(np.concatenate(([0], cuts, [len(ends)]))).tolist()
    return list(pairwise(bounds))


def for_each_part(work: Callable[[int, int], Result], parts: list[tuple[int, int]]) -> list[Result]:
    """What a function that releases the GIL gives for each range, in order."""
    return list(_POOL.map(lambda part: work(*part), parts))
