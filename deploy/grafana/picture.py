"""The dashboard's panels, drawn from what a real Prometheus has: for the README."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from deploy.grafana.panels import ROWS, Panel, Query
from deploy.grafana.prometheus_run import Prometheus
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

WINDOW = "10s"
COLUMNS = 3
LEGEND_COLUMNS = 3
UNITS: dict[str, Any] = {
    "s": EngFormatter("s"),
    "bytes": EngFormatter("B"),
    "percentunit": FuncFormatter(
        lambda value, _: f"{value:.3g}" if value < 0.01 else f"{value:.0%}"
    ),
}


def draw(source: Prometheus, output: Path, begin: float, end: float) -> None:
    """Draw every panel of lines that has data between two times (Unix seconds)."""
    panels = [panel for row in ROWS for panel in row.panels if panel.kind == "timeseries"]
    lines = {panel.title: _lines(source, panel, begin, end) for panel in panels}
    drawn = [panel for panel in panels if lines[panel.title]]
    rows = -(-len(drawn) // COLUMNS)
    with plt.style.context("seaborn-v0_8-whitegrid"):
        figure, axes = plt.subplots(rows, COLUMNS, figsize=(5 * COLUMNS, 2.9 * rows), squeeze=False)
        for axis, panel in zip(axes.flat, drawn, strict=False):
            _draw_panel(axis, panel, lines[panel.title], begin)
        for axis in list(axes.flat)[len(drawn) :]:
            axis.set_axis_off()
        figure.tight_layout(h_pad=1.5)
        figure.savefig(output, dpi=66)
        plt.close(figure)


def _lines(
    source: Prometheus, panel: Panel, begin: float, end: float
) -> list[tuple[str, list[tuple[float, float]]]]:
    """Name and points of every line of a panel that has any."""
    found = []
    for query in panel.queries:
        expression = query.expression.replace("$__rate_interval", WINDOW)
        expression = expression.replace("$instance", ".*").replace("$model", ".*")
        matrix = source.get(
            "query_range", query=expression, start=str(begin), end=str(end), step="1"
        )["result"]
        for series in matrix:
            points = [(float(at), float(value)) for at, value in series["values"]]
            points = [point for point in points if point[1] == point[1]]  # NaN: nothing happened
            if any(value for _, value in points):
                found.append((_name(query, series["metric"]), points))
    return found


def _name(query: Query, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), query.legend).strip(" ,")


def _draw_panel(
    axis: Any, panel: Panel, lines: list[tuple[str, list[tuple[float, float]]]], begin: float
) -> None:
    for name, points in lines:
        axis.plot(
            [at - begin for at, _ in points], [value for _, value in points], label=name, lw=1.2
        )
    axis.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    highest = max(value for _, points in lines for _, value in points)
    axis.set_ylim(0, highest * (1.15 + 0.05 * -(-len(lines) // LEGEND_COLUMNS)))  # and the legend
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.xaxis.set_major_formatter(EngFormatter("s"))
    axis.yaxis.set_major_formatter(UNITS.get(panel.unit, FuncFormatter(_count)))
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=5.5, ncols=LEGEND_COLUMNS, loc="upper left", framealpha=0.7)


def _count(value: float, _position: object) -> str:
    return f"{value:g}" if value < 1000 else EngFormatter()(value)
