"""What a section has measured: samples of every round, from which all figures follow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeAlias

from benchmarks.machine import Machine
from pydantic import TypeAdapter

Samples: TypeAlias = tuple[float, ...]


@dataclass(frozen=True)
class Goal:
    """What a row is to reach: a ratio, or without a peer to compare with, a figure."""

    bound: float
    at_most: bool = False  # or else at least

    def reached_by(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True)
class Row:
    """One thing that was measured, beside at most one peer.

    The samples of both are of the same rounds, which alternated. What could not be measured has no
    samples and a note that says why; so has a peer that is not there.
    """

    what: str
    unit: str
    ours: Samples
    peer: str = ""
    theirs: Samples = ()
    less_is_better: bool = False
    goal: Goal | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.theirs and len(self.ours) != len(self.theirs):
            problem = f"{len(self.ours)} rounds of ours, {len(self.theirs)} of the peer"
            raise ValueError(f"{self.what}: {problem}")

    @property
    def figure(self) -> float | None:
        """Ours, in the unit."""
        return median(self.ours) if self.ours else None

    @property
    def peer_figure(self) -> float | None:
        return median(self.theirs) if self.theirs else None

    @property
    def ratios(self) -> Samples:
        """How many times better than the peer, of each round."""
        pairs = zip(self.ours, self.theirs, strict=True) if self.theirs else ()
        return tuple(t / o if self.less_is_better else o / t for o, t in pairs)

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.theirs else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """Between what the middle half of the ratios lies; of few rounds, all of them."""
        if len(self.ratios) < 2:
            return None
        if len(self.ratios) < 4:
            return min(self.ratios), max(self.ratios)
        low, _, high = quantiles(self.ratios, n=4, method="inclusive")
        return low, high

    @property
    def reached(self) -> bool | None:
        """Whether the goal is; None where there is none, or nothing to tell it by."""
        value = self.ratio if self.peer else self.figure
        return None if self.goal is None or value is None else self.goal.reached_by(value)


@dataclass(frozen=True)
class Table:
    """Figures of another shape than rows, as they are to be read."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    command: str = ""
    before: str = ""  # a paragraph


@dataclass(frozen=True)
class Series:
    name: str
    xs: Samples
    ys: tuple[Samples, ...]  # the samples of each x

    def __post_init__(self) -> None:
        if len(self.xs) != len(self.ys):
            raise ValueError(f"{self.name}: {len(self.xs)} places, {len(self.ys)} values")


@dataclass(frozen=True)
class Plot:
    name: str  # of its file
    title: str
    x: str
    y: str
    unit: str  # of y
    series: tuple[Series, ...]
    ideal: Series | None = None  # drawn as a dashed line
    log_x: bool = True
    log_y: bool = True


@dataclass(frozen=True)
class Section:
    """What one module measures: rows, tables and plots under one heading."""

    title: str
    text: str  # what is measured beside what, and how
    rows: tuple[Row, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A section with what it takes to measure it again, as it is kept in a file."""

    name: str
    command: str
    section: Section
    machine: Machine
    date: str  # YYYY-MM-DD
    commit: str
    seconds: float  # that measuring took
    sizes: Mapping[str, object] = field(default_factory=dict)
    elsewhere: float = 0.0  # cores that other programs took meanwhile


_KEPT = TypeAdapter(Measured)
_NUMBERS = re.compile(r"\[[-+.,\de\s]*\]")


def write_result(path: Path, measured: Measured) -> None:
    """Keep it in a file, to six digits, the samples of a row on one line."""
    values = _short(_KEPT.dump_python(measured, mode="json", exclude_defaults=True))
    text = json.dumps(values, indent=1, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n")


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_short(each) for each in value]
    return {k: _short(v) for k, v in value.items()} if isinstance(value, dict) else value


def read_result(path: Path) -> Measured:
    """Raises pydantic.ValidationError for a file that holds something else."""
    return _KEPT.validate_json(path.read_bytes())
