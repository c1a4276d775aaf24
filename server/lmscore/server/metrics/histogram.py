"""Histograms that take many values at a time.

An observation of prometheus-client takes about a microsecond, a request of a hundred texts a few
hundred. So values only wait where they occur, and are sorted into buckets together.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Histogram


class BulkHistogram(Histogram):
    """A histogram of prometheus-client, in one process or several, with a way in for arrays."""

    def observe_many(self, values: NDArray[np.float64]) -> None:
        """Observe each of some values; in the sum, one beyond the last bound counts as that bound.

        A single infinite value would spoil the sum for good.
        """
        bounds = self._upper_bounds  # the last is infinite
        counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds))
        self._sum.inc(float(np.minimum(values, bounds[-2]).sum()))
        for place in np.flatnonzero(counts).tolist():
            self._buckets[place].inc(float(counts[place]))


class Waiting:
    """Values that wait to be observed; any thread may add some, one at a time takes them out."""

    def __init__(self, histogram: BulkHistogram) -> None:
        self._histogram = histogram
        self._values: deque[float] = deque()
        self.add = self._values.append
        self.extend = self._values.extend

    def observe(self) -> None:
        """Observe those that have come so far."""
        count = len(self._values)  # more may come meanwhile; those wait for the next time
        if count:
            taken = (self._values.popleft() for _ in range(count))
            self._histogram.observe_many(np.fromiter(taken, float, count))
