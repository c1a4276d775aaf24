"""The dashboard: made by its script, of metrics that there are, with data where there should be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections import Counter

import pytest
from deploy.grafana import dashboard
from deploy.grafana.check import panel_findings, panels, rule_findings
from deploy.grafana.panels import ROWS
from deploy.grafana.prometheus_run import ROOT, Prometheus, prometheus, serving, traffic
from prometheus_client import CollectorRegistry

from lmscore.server.metrics.metrics import Metrics

OF_THE_PROCESS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "lmscore_worker_restarts_total",
    "lmscore_gpu_utilization_ratio",
    "lmscore_gpu_memory_used_bytes",
    "lmscore_gpu_memory_total_bytes",
}
"""Metrics that the endpoint adds to those of the server."""

PATIENCE_SECONDS = 60.0
METRIC = re.compile(r"\b(?:lmscore|process)_[a-z0-9_]+\b")


def known_names() -> set[str]:
    names = set(OF_THE_PROCESS)
    for family in Metrics(CollectorRegistry()).registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        names.update(family.name + suffix for suffix in suffixes.get(family.type, ("",)))
    return names


def names_in(text: str) -> set[str]:
    return set(METRIC.findall(text))


def test_the_dashboard_is_what_its_script_makes() -> None:
    assert dashboard.OUTPUT.read_text() == dashboard.build(), "python -m deploy.grafana.dashboard"


def test_every_metric_that_is_shown_or_watched_exists() -> None:
    shown = {
        name
        for _, panel in panels()
        for query in panel.queries
        for name in names_in(query.expression)
    }
    rules = [ROOT / "deploy" / "prometheus" / f"{name}.yml" for name in ("recording", "alerts")]
    watched = {name for path in rules for name in names_in(path.read_text())}

    assert len(shown) > 20
    assert shown | watched <= known_names()
    assert names_in("rate(lmscore_no_such_metric_total[5m])") - known_names()


def test_every_row_that_an_operator_looks_for_is_there_with_its_variables() -> None:
    board = json.loads(dashboard.OUTPUT.read_text())
    panels_of_board = [panel for panel in board["panels"] if panel["type"] != "row"]
    places = [panel["id"] for panel in board["panels"]]

    assert {variable["name"] for variable in board["templating"]["list"]} == {
        "datasource",
        "instance",
        "model",
    }
    assert len(panels_of_board) == sum(len(row.panels) for row in ROWS)
    assert len(places) == len(set(places))
    assert all(panel["description"] and panel["targets"] for panel in panels_of_board)


@pytest.mark.timeout(400)
def test_prometheus_finds_what_panels_and_rules_ask_for_and_counts_every_call() -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian's package prometheus has it)")
    with serving("--processes", "2") as servers, prometheus(servers.metrics) as source:
        ended = Counter(traffic(servers.grpc, 3, 50))
        give_up = time.monotonic() + PATIENCE_SECONDS
        while (wrong := what_is_wrong(source, ended)) and time.monotonic() < give_up:
            time.sleep(0.3)  # until all was scraped, and the rules have seen it
        exposition = urllib.request.urlopen(f"http://{servers.metrics}/metrics").read()

    assert wrong == []
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def what_is_wrong(source: Prometheus, ended: Counter[str]) -> list[object]:
    """Panels and rules that find nothing or cannot be asked, and calls that are not counted."""
    counted = calls_counted(source)
    # Listing models and waiting for them are calls too, but none that the traffic counts.
    miscounted = [(key, n, counted[key]) for key, n in ended.items() if counted[key] != n]
    findings = (*panel_findings(source, PATIENCE_SECONDS), *rule_findings(source))
    return [*miscounted, *(found for found in findings if found.problem)]


def calls_counted(source: Prometheus) -> Counter[str]:
    expression = "sum by (method, code) (lmscore_requests_total)"
    result = source.get("query", query=expression)["result"]
    return Counter(
        {
            f"{series['metric']['method']} {series['metric']['code']}": int(
                float(series["value"][1])
            )
            for series in result
        }
    )
