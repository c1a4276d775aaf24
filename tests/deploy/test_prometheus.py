"""Rules and alerts, tried by Prometheus' own tools, and their runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    return subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )


def rules(file: str) -> list[dict[str, Any]]:
    groups = YAML(typ="safe").load(PROMETHEUS / file)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_prometheus_takes_the_configuration() -> None:
    done = promtool("check", "config", "prometheus.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_come_when_they_should_and_not_before() -> None:
    done = promtool("test", "rules", "alerts_test.yml", "drift_test.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_both_firing_and_silent() -> None:
    files = [YAML(typ="safe").load(path) for path in PROMETHEUS.glob("*_test.yml")]
    cases = [case for file in files for test in file["tests"] for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case.get("exp_alerts")}
    is_silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}

    assert fires == is_silent == {rule["alert"] for rule in rules("alerts.yml")}


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9-]", "", heading.lower().replace(" ", "-")) for heading in headings}

    for rule in rules("alerts.yml"):
        notes = rule["annotations"]
        page, _, anchor = notes["runbook_url"].partition("#")
        assert page == "docs/operations.md"
        assert anchor == rule["alert"].lower()
        assert anchor in anchors, f"{rule['alert']} has no section in the runbook"
        assert notes["summary"]
        assert notes["description"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
