"""A section that measures next to nothing, to be run as a program."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.result import Row, Section
from benchmarks.standalone import run_alone
from benchmarks.timing import times


@dataclass(frozen=True)
class Sizes:
    numbers: int = 100_000
    rounds: int = 5


def measure(sizes: Sizes) -> Section:
    numbers = range(sizes.numbers)
    found = times(sizes.rounds, {"ours": lambda: sum(numbers), "peer": lambda: sum(list(numbers))})
    row = Row("a sum", "s", found["ours"], "of a list", found["peer"], less_is_better=True)
    return Section("Sums", f"{sizes.numbers} numbers.", (row,))


if __name__ == "__main__":
    run_alone("loading", measure, Sizes(), Sizes(numbers=1_000, rounds=2))
