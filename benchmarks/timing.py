"""Rounds that alternate between candidates, so that a busy machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def in_turns(rounds: int, candidates: Mapping[str, Callable[[], T]]) -> dict[str, tuple[T, ...]]:
    """What each gives in each round; who comes first changes from round to round."""
    found: dict[str, list[T]] = {name: [] for name in candidates}
    names = list(candidates)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(candidates[name]())
    return {name: tuple(values) for name, values in found.items()}


def seconds_of(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def times(
    rounds: int, candidates: Mapping[str, Callable[[], object]], warm_up: bool = True
) -> dict[str, tuple[float, ...]]:
    """Seconds of each in each round, after one that does not count."""

    def timed(run: Callable[[], object]) -> Callable[[], float]:
        return lambda: seconds_of(run)

    if warm_up:
        for run in candidates.values():
            run()
    return in_turns(rounds, {name: timed(run) for name, run in candidates.items()})


def rates(amount: float, seconds: tuple[float, ...]) -> tuple[float, ...]:
    """So much a second, of each round."""
    return tuple(amount / each for each in seconds)
