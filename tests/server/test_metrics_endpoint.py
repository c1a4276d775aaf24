"""Metrics over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from lmscore.server.metrics_endpoint import MetricsEndpoint, serve_metrics
from lmscore.server.process_metrics import WorkerMetrics
from lmscore.server.single import serve_alone
from lmscore.server.stages import CurrentStage, Stage, StartError
from tests.server.harness import settings_for


def get(port: int, path: str, **headers: str) -> tuple[int, Message, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("calls", "Calls.", registry=registry).inc(42)
    return registry


@pytest.fixture
def stage() -> CurrentStage:
    return CurrentStage()


@pytest.fixture
def endpoint(registry: CollectorRegistry, stage: CurrentStage) -> Iterator[MetricsEndpoint]:
    endpoint = serve_metrics("127.0.0.1:0", lambda: registry, lambda: stage.serving)
    yield endpoint
    endpoint.close()


def test_metrics_are_in_the_form_that_is_asked_for(endpoint: MetricsEndpoint) -> None:
    _, headers, text = get(endpoint.port, "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert b"calls_total 42.0\n" in text

    _, headers, text = get(endpoint.port, "/metrics", Accept="application/openmetrics-text")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    [family] = text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]
    assert family.samples[0].value == 42

    _, headers, packed = get(endpoint.port, "/metrics", **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert b"calls_total 42.0\n" in gzip.decompress(packed)


def test_health_follows_the_stage(endpoint: MetricsEndpoint, stage: CurrentStage) -> None:
    assert get(endpoint.port, "/healthz")[0] == 503
    stage.tell(Stage.SERVING)
    assert get(endpoint.port, "/healthz")[0] == 200
    stage.tell(Stage.DRAINING)
    assert get(endpoint.port, "/healthz")[0] == 503


def test_other_pages_say_where_the_metrics_are(endpoint: MetricsEndpoint) -> None:
    assert (get(endpoint.port, "/")[0], get(endpoint.port, "/favicon.ico")[0]) == (200, 404)
    assert b"/metrics" in get(endpoint.port, "/")[2]


def test_a_silent_connection_keeps_nobody_waiting(endpoint: MetricsEndpoint) -> None:
    with socket.create_connection(("127.0.0.1", endpoint.port)):
        assert get(endpoint.port, "/metrics")[0] == 200


def test_metrics_that_cannot_be_read_are_an_error_in_the_log() -> None:
    def broken() -> CollectorRegistry:
        raise RuntimeError("no disk")

    with capture_logs() as events:
        endpoint = serve_metrics("127.0.0.1:0", broken)
        try:
            status, _, text = get(endpoint.port, "/metrics")
        finally:
            endpoint.close()

    assert status == 500
    assert b"no disk" not in text
    assert "metrics cannot be read" in [event["event"] for event in events]


def test_a_port_in_use_is_one_clear_line(endpoint: MetricsEndpoint) -> None:
    address = f"127.0.0.1:{endpoint.port}"
    with pytest.raises(StartError, match=f"cannot serve metrics on {address}: .*in use"):
        serve_metrics(address, CollectorRegistry)


def test_a_closed_endpoint_has_left_its_port(registry: CollectorRegistry) -> None:
    endpoint = serve_metrics("127.0.0.1:0", lambda: registry)
    endpoint.close()
    with pytest.raises(OSError, match="refused"):
        get(endpoint.port, "/metrics")

    again = serve_metrics(f"127.0.0.1:{endpoint.port}", lambda: registry)
    assert get(again.port, "/metrics")[0] == 200
    again.close()


def test_processes_have_the_figures_that_the_system_tells_of_them() -> None:
    registry = CollectorRegistry()
    child = psutil.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"\n"  # it runs: its loader has closed its files
        pids = {"0": os.getpid(), "1": child.pid}
        WorkerMetrics(registry, 2, lambda: pids, lambda: 1)
        value = registry.get_sample_value

        assert value("lmscore_workers") == 1
        assert value("lmscore_workers_expected") == 2
        assert value("lmscore_worker_restarts_total", {"worker": "1"}) == 0
        assert value("process_open_fds", {"worker": "1"}) == child.num_fds()
        started = value("process_start_time_seconds", {"worker": "1"})
        assert started == pytest.approx(child.create_time(), abs=1.5)
        resident = value("process_resident_memory_bytes", {"worker": "0"})
        assert resident == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    finally:
        child.kill()
        child.communicate()
    assert value("process_open_fds", {"worker": "1"}) is None  # gone, not zero
    assert value("process_open_fds", {"worker": "0"}) is not None


async def test_a_server_of_one_process_has_the_same_metrics(tiny_arpa: Path) -> None:
    settings = settings_for(tiny_arpa, metrics="127.0.0.1:0")
    with capture_logs() as events:
        serving = asyncio.create_task(serve_alone(settings))
        async with asyncio.timeout(90):
            while "ready" not in [event["event"] for event in events]:
                assert not serving.done(), serving.exception()
                await asyncio.sleep(0.01)
        [told] = [event for event in events if event["event"] == "serving metrics"]
        port = int(told["address"].rpartition(":")[2])
        status, _, text = await asyncio.to_thread(get, port, "/metrics")
        health = await asyncio.to_thread(get, port, "/healthz")
        os.kill(os.getpid(), signal.SIGTERM)
        await serving

    assert (status, health[0]) == (200, 200)
    assert b"lmscore_workers 1.0\n" in text
    assert b'process_resident_memory_bytes{worker="0"}' in text
    with pytest.raises(urllib.error.URLError):
        await asyncio.to_thread(get, port, "/metrics")
