"""What a run has seen: how calls ended and how long they took, as a table and as JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SHOWN_PROBLEMS = 20


@dataclass
class Tally:
    """How the calls of one part of a run ended."""

    name: str
    sent: Counter[str] = field(default_factory=Counter)  # by method
    codes: Counter[str] = field(default_factory=Counter)  # how calls ended, by gRPC code
    seconds: list[float] = field(default_factory=list)  # of calls that were answered
    wrong: int = 0  # answers that are not the library's
    lost: int = 0  # calls that did not end within their deadline
    faults: Counter[str] = field(default_factory=Counter)  # injected, by name
    memory_bytes: tuple[int, int] = (0, 0)  # of the server, after it was warm and at the end
    figures: dict[str, float] = field(default_factory=dict)  # what else was measured
    problems: list[str] = field(default_factory=list)  # whatever must not be

    @property
    def requests(self) -> int:
        """Calls that were made."""
        return self.sent.total()

    def answered(self, method: str, seconds: float, problem: str) -> None:
        """Count a call with an answer; a problem says what is wrong with it."""
        self.codes["OK"] += 1
        self.seconds.append(seconds)
        if problem:
            self.wrong += 1
            self.problem(f"{method}: {problem}")

    def failed(self, method: str, code: str, problem: str) -> None:
        """Count a call that ended in a status; a problem says why it must not have that one."""
        self.codes[code] += 1
        if problem:
            self.problem(f"{method}: {code}: {problem}")

    def lose(self, method: str) -> None:
        """Count a call that never ended."""
        self.lost += 1
        self.problem(f"{method}: did not end within its deadline")

    def problem(self, text: str) -> None:
        """Note what must not be."""
        self.problems.append(text)

    def quantile_ms(self, share: float) -> float:
        """A quantile of the answered calls' times, in milliseconds; NaN without any."""
        ordered = sorted(self.seconds)
        if not ordered:
            return math.nan
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3

    def check_settled(self) -> None:
        """See that every call that was made has ended in some way."""
        missing = self.requests - self.codes.total() - self.lost
        if missing:
            self.lost += missing
            self.problem(f"{missing} calls have neither an answer nor a status")

    def as_dict(self) -> dict[str, Any]:
        """All of it, for machines."""
        return {
            "requests": self.requests,
            "by_method": dict(self.sent),
            "codes": dict(self.codes),
            "p50_ms": round(self.quantile_ms(0.5), 3) if self.seconds else None,
            "p99_ms": round(self.quantile_ms(0.99), 3) if self.seconds else None,
            "memory_start_bytes": self.memory_bytes[0],
            "memory_end_bytes": self.memory_bytes[1],
            "faults": dict(self.faults),
            "figures": self.figures,
            "wrong": self.wrong,
            "lost": self.lost,
            "problems": self.problems,
        }


def show(tallies: list[Tally], console: Console) -> None:
    """Print a column for each part of the run, and what was wrong."""
    table = Table(title="soak", title_justify="left")
    table.add_column("")
    for tally in tallies:
        table.add_column(tally.name, justify="right")
    for name, cells in _rows(tallies):
        table.add_row(name, *cells)
    console.print(table)
    for tally in tallies:
        for problem in tally.problems[:SHOWN_PROBLEMS]:
            console.print(f"{tally.name}: {problem}", style="red", markup=False)
        if len(tally.problems) > SHOWN_PROBLEMS:
            console.print(f"{tally.name}: {len(tally.problems) - SHOWN_PROBLEMS} more", style="red")


def _rows(tallies: list[Tally]) -> list[tuple[str, list[str]]]:
    codes = sorted({code for tally in tallies for code in tally.codes})
    faults = sorted({fault for tally in tallies for fault in tally.faults})
    figures = sorted({figure for tally in tallies for figure in tally.figures})

    def row(name: str, cell: Callable[[Tally], str]) -> tuple[str, list[str]]:
        return name, [cell(tally) for tally in tallies]

    def rows(
        label: str, names: list[str], cell: Callable[[Tally, str], str]
    ) -> list[tuple[str, list[str]]]:
        return [(label + name, [cell(tally, name) for tally in tallies]) for name in names]

    return [
        row("requests", lambda t: f"{t.requests:,}"),
        *rows("  ", codes, lambda t, code: _count(t.codes[code])),
        row("p50 (ms)", lambda t: _number(t.quantile_ms(0.5))),
        row("p99 (ms)", lambda t: _number(t.quantile_ms(0.99))),
        row("memory at start (MiB)", lambda t: _mebibytes(t.memory_bytes[0])),
        row("memory at end (MiB)", lambda t: _mebibytes(t.memory_bytes[1])),
        *rows("fault: ", faults, lambda t, fault: _count(t.faults[fault])),
        *rows("", figures, lambda t, name: _number(t.figures.get(name, math.nan))),
        row("answers wrong", lambda t: str(t.wrong)),
        row("answers lost", lambda t: str(t.lost)),
        row("problems", lambda t: str(len(t.problems))),
    ]


def _mebibytes(size: int) -> str:
    return _count(size >> 20)


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def _number(number: float) -> str:
    return "" if math.isnan(number) else f"{number:,.1f}"


def write_json(tallies: list[Tally], path: Path) -> None:
    """The same for machines."""
    path.write_text(json.dumps({tally.name: tally.as_dict() for tally in tallies}, indent=2) + "\n")
