"""Threads for one network: a leader that does one piece of work after the other, and its helpers.

Each thread multiplies matrices by itself. Splitting rows over threads once, with everything that
is done to them, wakes threads less often than the library does, which splits every product, and
keeps each thread's numbers in its own cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import ParamSpec, TypeVar

import torch

from lmscore.models.interruption import check_wanted, current, interruptible

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_FEWEST_ROWS = 64  # with fewer, reading the weights is what takes time: split their rows instead
_LEAST_COST = 1 << 18  # multiplications that are done sooner than another thread is woken up


class Workers:
    """So many threads, the leader among them."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        alone = torch.set_num_threads
        self._leader = ThreadPoolExecutor(1, "network", alone, (1,))
        self._helpers = ThreadPoolExecutor(max(threads - 1, 1), "network-helper", alone, (1,))

    def lead(
        self,
        work: Callable[Parameters, Result],
        *args: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """Have the leader do a piece of work, and give its result.

        Raises WorkInterruptedError if the work is not wanted any more.
        """
        unwanted = current()

        def run() -> Result:
            torch.set_num_threads(1)  # the matrix library has one number for the whole process
            with torch.inference_mode(), interruptible(unwanted):
                check_wanted()
                return work(*args, **options)

        return self._leader.submit(run).result()

    def parts(self, count: int, cost: int) -> int:
        """In how many parts rows are best done, each of which takes cost multiplications."""
        return max(1, min(self.threads, count // _FEWEST_ROWS, count * cost // _LEAST_COST))

    def split(self, work: Callable[[int, int], None], count: int, cost: int) -> None:
        """Do work(begin, end) for parts of the rows 0 … count - 1. For the leader to call."""
        parts = self.parts(count, cost)
        bounds = [count * part // parts for part in range(parts + 1)]
        self._together([partial(work, begin, end) for begin, end in pairwise(bounds)])

    def share(self, work: Callable[[Iterable[int]], None], count: int) -> None:
        """Do work(numbers) in each thread, where every number 0 … count - 1 is given to one."""
        numbers = iter(range(count))  # taking the next one is atomic
        parts = min(self.threads, count)
        self._together([lambda: work(numbers)] * parts)

    def _together(self, parts: list[Callable[[], None]]) -> None:
        others = [self._helpers.submit(_without_gradients, part) for part in parts[1:]]
        try:
            for part in parts[:1]:
                part()
        finally:
            failures = [future.exception() for future in others]  # all are done with the arrays
        for failure in failures:
            if failure is not None:
                raise failure


def _without_gradients(part: Callable[[], None]) -> None:
    with torch.inference_mode():
        part()
