"""Makes ``lmscore.json``, the dashboard that Grafana is given, from ``panels.py``.

python -m deploy.grafana.dashboard            write it
python -m deploy.grafana.dashboard --check    exit with 1 if the file is not what it would write
"""

from __future__ import annotations

import argparse
import sys
from itertools import count
from pathlib import Path
from typing import Any

from deploy.grafana.panels import ROWS, Panel, Query
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

OUTPUT = Path(__file__).parent / "lmscore.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
PANEL_HEIGHT = 8
STAT_HEIGHT = 4


def build() -> str:
    """The dashboard as JSON."""
    board = (
        dashboard.Dashboard("lmscore")
        .uid("lmscore")
        .description(
            "Language-model scoring: traffic, latency, generation, batching, models, drift."
        )
        .tags(["lmscore"])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("10s")
        .time("now-30m", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
        .with_variable(_label("instance", 'up{job="lmscore"}'))
        .with_variable(_label("model", "lmscore_model_loaded"))
    )
    numbers = count(1)
    for row in ROWS:
        board = board.with_row(dashboard.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            board = board.with_panel(_panel(panel).id(next(numbers)))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _label(name: str, metric: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(name)
        .query(f"label_values({metric}, {name})")
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _panel(panel: Panel) -> Any:
    makers = {"timeseries": _lines, "stat": _number, "heatmap": _heatmap, "table": _table}
    made = (
        makers[panel.kind](panel)
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .span(panel.width)
        .height(STAT_HEIGHT if panel.kind == "stat" else PANEL_HEIGHT)
    )
    for i, query in enumerate(panel.queries):
        made = made.with_target(_target(query, "ABCDEF"[i], panel))
    return made


def _target(query: Query, name: str, panel: Panel) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expression).ref_id(name)
    if query.legend:
        target = target.legend_format(query.legend)
    if panel.kind == "heatmap":
        return target.range().format(PromQueryFormat.HEATMAP)
    if panel.kind == "table":
        return target.instant().format(PromQueryFormat.TABLE)
    return target.range().exemplar(True)


def _lines(panel: Panel) -> Any:
    legend = (
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    made = timeseries.Panel().unit(panel.unit).min(0).legend(legend).line_width(1)
    tooltip = common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    made = made.tooltip(tooltip).show_points(common.VisibilityMode.NEVER)
    if panel.stacked:
        stacking = common_builders.StackingConfig().mode(common.StackingMode.NORMAL)
        made = made.stacking(stacking).fill_opacity(30)
    return made


def _number(panel: Panel) -> Any:
    return stat.Panel().unit(panel.unit).graph_mode(common.BigValueGraphMode.AREA)


def _heatmap(panel: Panel) -> Any:
    colors = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
    axis = heatmap.YAxisConfig().unit(panel.unit)
    return heatmap.Panel().calculate(False).color(colors).y_axis(axis)


def _table(panel: Panel) -> Any:
    hidden = {"Time": True, "Value": True, "job": True}
    organize = DataTransformerConfig(id_val="organize", options={"excludeByName": hidden})
    return table.Panel().unit(panel.unit).with_transformation(organize)


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; compare")
    if not parser.parse_args().check:
        OUTPUT.write_text(build())
        return 0
    if OUTPUT.read_text() == build():
        return 0
    print(f"{OUTPUT} is not up to date; run: python -m deploy.grafana.dashboard", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
