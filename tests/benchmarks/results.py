"""Results that are made up, for the tests of what is done with them."""

from __future__ import annotations

from benchmarks.machine import Machine
from benchmarks.result import Measured, Plot, Row, Section, Series

MACHINE = Machine("A Processor", 2, 8.0, "Linux 6", "3.11.7", packages={"torch": "2.9"})


def measured(
    *rows: Row, name: str = "ngram", plots: tuple[Plot, ...] = (), elsewhere: float = 0.0
) -> Measured:
    section = Section("The engine", "What is measured.", rows, plots=plots)
    command = "python -m benchmarks.ngram_scoring"
    return Measured(
        name, command, section, MACHINE, "2026-01-31", "abc123", 4.2, {"rounds": 3}, elsewhere
    )


def plot() -> Plot:
    series = Series("ours", (1.0, 10.0), ((5.0, 6.0), (40.0, 50.0)))
    ideal = Series("in proportion", (1.0, 10.0), ((5.5,), (55.0,)))
    return Plot("growth-batch", "Texts of a call", "texts", "rate", "tokens/s", (series,), ideal)
