"""Metrics of several processes as those of one server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from lmscore.server.shared_metrics import SharedMetrics, environment_for, forget

pytestmark = pytest.mark.timeout(300)  # a process takes long to start on a busy machine

WORKER = """
import sys
from lmscore.server.shared_metrics import count_as
count_as(sys.argv[1])
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
registry = CollectorRegistry()
calls = Counter("calls", "Calls.", ["code"], registry=registry)
running = Gauge("running", "Running.", multiprocess_mode="livesum", registry=registry)
memory = Gauge("memory", "Memory.", registry=registry)
seconds = Histogram("seconds", "Seconds.", buckets=[1, 10], registry=registry)
calls.labels("OK").inc(float(sys.argv[2]))
running.inc(3)
memory.set(7)
seconds.observe(5)
"""


def run_workers(folder: Path, **counts: float) -> None:
    """Processes that count, each under its name, and end without cleaning up."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, name.removeprefix("worker"), str(count)],
            env={**environment, **environment_for(folder)},
        )
        for name, count in counts.items()
    ]
    assert [process.wait(timeout=280) for process in processes] == [0] * len(processes)


def registry_of(folder: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(SharedMetrics(folder))
    return registry


def test_counters_and_histograms_of_processes_add_up_and_live_gauges_vanish(
    tmp_path: Path,
) -> None:
    registry = registry_of(tmp_path)
    run_workers(tmp_path, worker0=2, worker1=40)
    value = registry.get_sample_value

    assert value("calls_total", {"code": "OK"}) == 42
    assert value("seconds_bucket", {"le": "10.0"}) == 2
    assert value("seconds_sum") == 10
    assert value("running") == 6
    assert value("memory", {"pid": "1"}) == 7

    forget(tmp_path, "1")

    assert value("calls_total", {"code": "OK"}) == 42
    assert value("seconds_count") == 2
    assert value("running") == 3
    assert value("memory", {"pid": "1"}) is None
    assert value("memory", {"pid": "0"}) == 7

    files = len(list(tmp_path.iterdir()))
    forget(tmp_path, "0")
    run_workers(tmp_path, worker0=1)  # started again

    assert value("calls_total", {"code": "OK"}) == 43
    assert value("running") == 3
    assert len(list(tmp_path.iterdir())) == files


def test_a_file_that_vanishes_while_it_is_read_does_not_fail_a_scrape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_workers(tmp_path, worker0=2)
    real = open
    [victim] = tmp_path.glob("gauge_all_0.db")

    def open_late(path: str, mode: str) -> object:
        if Path(path) == victim:
            victim.unlink()  # between the listing and the reading
        return real(path, mode)

    monkeypatch.setattr("prometheus_client.mmap_dict.open", open_late, raising=False)
    registry = registry_of(tmp_path)

    assert registry.get_sample_value("calls_total", {"code": "OK"}) == 2
    assert not victim.exists()


def test_a_file_that_stays_empty_is_an_error_and_not_a_silent_gap(tmp_path: Path) -> None:
    run_workers(tmp_path, worker0=2)
    (tmp_path / "counter_1.db").touch()

    with pytest.raises(Exception, match="unpack"):
        registry_of(tmp_path).get_sample_value("calls_total", {"code": "OK"})
