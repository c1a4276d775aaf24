"""Figures and rows as people read them, on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.result import Goal, Row

TIMES, TO = "\u00d7", "\u2013"
COLUMNS = ("what", "figure", "beside", "its figure", "ratio", "goal")

_THOUSANDS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "bytes"))


def digits(value: float) -> str:
    """Three of them; powers of ten where there would be many zeros."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.1e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def amount(value: float, unit: str, number: Callable[[float], str] = digits) -> str:
    """A number and the unit with the prefix that suits it."""
    match unit:
        case "s" | "bytes":
            scale, name = _scale(value, _SECONDS if unit == "s" else _BYTES)
            return f"{number(value / scale)} {name}"
        case _ if unit.endswith("/s"):
            scale, prefix = _scale(value, _THOUSANDS)
            joined = unit if unit.startswith("FLOP") else f" {unit}" if prefix else unit
            return f"{number(value / scale)} {prefix}{joined}"
    return f"{number(value)} {unit}"


def times(ratio: float) -> str:
    return f"{digits(ratio)} {TIMES}"


def goal_text(row: Row) -> str:
    """The goal, and whether it is reached."""
    if row.goal is None:
        return ""
    bound = bound_text(row.goal, TIMES if row.peer else "", row.unit)
    if row.reached is None:
        return bound
    return f"{bound}: {'reached' if row.reached else 'missed'}"


def bound_text(goal: Goal, sign: str, unit: str) -> str:
    value = f"{goal.bound:g} {sign}" if sign else amount(goal.bound, unit, "{:g}".format)
    return f"{'≤' if goal.at_most else '≥'} {value}"


def ratio_text(row: Row) -> str:
    """The median, and between what the middle half of the rounds lies."""
    if row.ratio is None:
        return ""
    if row.spread is None:
        return times(row.ratio)
    low, high = map(digits, row.spread)
    return times(row.ratio) if low == high else f"{times(row.ratio)} ({low}{TO}{high})"


def cells(row: Row) -> tuple[str, ...]:
    """A row's text under COLUMNS."""
    ours = amount(row.figure, row.unit) if row.figure is not None else row.note or "not measured"
    if row.peer_figure is not None:
        theirs = amount(row.peer_figure, row.unit)
    else:
        theirs = row.note if row.peer and row.figure is not None else ""
    return row.what, ours, row.peer, theirs, ratio_text(row), goal_text(row)


def _scale(value: float, scales: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    """The largest that leaves a number of one at least; of nothing, the first."""
    fits = (each for each in scales if abs(value) >= each[0] * 0.9995)
    return next(fits, scales[-1]) if value else scales[0]
