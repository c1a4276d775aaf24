"""Asks a real Prometheus, which watches a real server under load, every panel of the dashboard.

    python -m deploy.grafana.check                       a table: panel, expression, value
    python -m deploy.grafana.check --picture panels.png  and the panels, drawn

Exits with 1 if an expression is wrong, or finds nothing where something should be.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.grafana.panels import ROWS, Panel, Query
from deploy.grafana.prometheus_run import (
    ROOT,
    Prometheus,
    RunError,
    prometheus,
    serving,
    traffic,
)
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from ruamel.yaml import YAML

SETTLE_SECONDS = 4.0
"""From the last call until it has been scraped and the rules have seen it."""


@dataclass(frozen=True)
class Finding:
    """What Prometheus answers to an expression."""

    where: str
    expression: str
    series: int
    value: float
    problem: str = ""


def concrete(expression: str, seconds: float) -> str:
    """An expression with Grafana's variables filled in."""
    window = f"{max(5, round(seconds))}s"
    return (
        expression.replace("$__rate_interval", window)
        .replace("$instance", ".*")
        .replace("$model", ".*")
    )


def panels() -> Iterator[tuple[str, Panel]]:
    """All panels, with where they are."""
    for row in ROWS:
        for panel in row.panels:
            yield f"{row.title} / {panel.title}", panel


def panel_findings(source: Prometheus, seconds: float) -> list[Finding]:
    """What every panel would show."""
    return [
        _finding(source, where, query, seconds)
        for where, panel in panels()
        for query in panel.queries
    ]


def rule_findings(source: Prometheus) -> list[Finding]:
    """What every rule comes to; Prometheus says itself when it cannot evaluate one."""
    groups = source.get("rules")["groups"]
    found = []
    for rule in (rule for group in groups for rule in group["rules"]):
        problem = "" if rule["health"] == "ok" else rule.get("lastError", rule["health"])
        name = f"{rule['type']} {rule['name']}"
        recorded = rule["type"] == "recording"
        result = source.get("query", query=rule["name"])["result"] if recorded else rule["alerts"]
        found.append(Finding(name, rule["query"], len(result), _number(result), problem))
    expected = sum(
        len(group["rules"])
        for file in ("recording.yml", "alerts.yml")
        for group in YAML(typ="safe").load(ROOT / "deploy" / "prometheus" / file)["groups"]
    )
    if len(found) != expected:
        raise RunError(f"Prometheus has {len(found)} rules instead of {expected}")
    return found


def _finding(source: Prometheus, where: str, query: Query, seconds: float) -> Finding:
    expression = concrete(query.expression, seconds)
    try:
        result = source.get("query", query=expression)["result"]
    except RunError as error:
        return Finding(where, expression, 0, math.nan, str(error))
    problem = "" if result or query.quiet else "no data"
    return Finding(where, expression, len(result), _number(result), problem)


def _number(result: list[dict[str, Any]]) -> float:
    """The largest value, the one to look at first."""
    values = [float(series["value"][1]) for series in result if isinstance(series["value"], list)]
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def report(findings: list[Finding]) -> Table:
    """The table that is printed."""
    table = Table("panel or rule", "expression", "series", "largest", "problem", box=None)
    for found in findings:
        value = "" if math.isnan(found.value) else f"{found.value:.4g}"
        shown = " ".join(found.expression.split())
        table.add_row(found.where, escape(shown), str(found.series), value, escape(found.problem))
    return table


def main() -> int:
    """Run it all, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long calls are made")
    parser.add_argument("--rate", type=float, default=25.0, help="calls a second")
    parser.add_argument("--processes", type=int, default=1, help="of the server")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the panels (matplotlib)")
    given = parser.parse_args()
    try:
        with (
            serving("--processes", str(given.processes)) as servers,
            prometheus(servers.metrics) as source,
        ):
            began = time.time()
            ended = traffic(servers.grpc, given.seconds, given.rate)
            time.sleep(SETTLE_SECONDS)
            findings = [*panel_findings(source, given.seconds), *rule_findings(source)]
            if given.picture:
                from deploy.grafana.picture import draw

                draw(source, given.picture, began, time.time())
    except RunError as error:
        print(f"dashboard-check: {error}", file=sys.stderr)
        return 1
    Console(width=None if sys.stdout.isatty() else 200).print(report(findings))
    wrong = [found for found in findings if found.problem]
    print(f"{len(findings)} expressions, {len(wrong)} wrong; calls made: {ended}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
