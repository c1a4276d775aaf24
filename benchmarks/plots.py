"""The pictures of the page: what costs grow with, and ratios beside their goals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from benchmarks.formats import amount
from benchmarks.result import Measured, Plot, Row
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small files
    "svg.hashsalt": "lmscore",  # the same picture is the same file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}


def draw(plot: Plot, folder: Path) -> Path:
    """A plot as SVG: medians as lines, all samples as their range."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for each, colour, marker in zip(plot.series, cycle(COLOURS), cycle(MARKERS)):
            middle = [median(samples) for samples in each.ys]
            axes.plot(each.xs, middle, color=colour, marker=marker, markersize=4, label=each.name)
            low, high = ([f(samples) for samples in each.ys] for f in (min, max))
            axes.fill_between(each.xs, low, high, color=colour, alpha=0.15, linewidth=0)
        if plot.ideal is not None:
            ys = [median(samples) for samples in plot.ideal.ys]
            axes.plot(plot.ideal.xs, ys, "--", color="#555555", label=plot.ideal.name)
        _scales(axes, plot)
        axes.set(xlabel=plot.x, ylabel=plot.y)
        axes.set_title(plot.title, loc="left")
        axes.legend(frameon=False)
        return _save(figure, folder / f"{plot.name}.svg")


def draw_goals(results: Sequence[Measured], folder: Path) -> Path | None:
    """All ratios that have goals, as parts of their goals."""
    rows = [
        (measured.section.title, row)
        for measured in results
        for row in measured.section.rows
        if row.goal is not None and row.ratio is not None
    ]
    if not rows:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 0.8 + 0.28 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, (_, row) in enumerate(reversed(rows)):
            _draw_ratio(axes, place, row)
        names = [f"{title}: {row.what}, beside {row.peer}" for title, row in reversed(rows)]
        labels = [name.replace("`", "") for name in names]
        axes.set_yticks(range(len(rows)), labels, fontsize=7)
        axes.axvline(1, linestyle="--", color="#555555")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("ratio to the peer, as a part of its goal (dashed)")
        return _save(figure, folder / "goals.svg")


def _draw_ratio(axes: Axes, place: int, row: Row) -> None:
    assert row.goal is not None
    assert row.ratio is not None
    colour, marker = (COLOURS[0], "o") if row.reached else (COLOURS[1], "X")
    low, high = row.spread or (row.ratio, row.ratio)
    bound = row.goal.bound
    axes.plot([low / bound, high / bound], [place, place], color=colour, linewidth=2)
    axes.plot([row.ratio / bound], [place], marker, color=colour)


def _scales(axes: Axes, plot: Plot) -> None:
    axes.set_xscale("log" if plot.log_x else "linear")
    axes.set_xticks(sorted({x for each in plot.series for x in each.xs}))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    if plot.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: amount(value, plot.unit, "{:.4g}".format))
    )


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    return path
