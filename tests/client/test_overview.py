"""A server at a glance: numbers worked out by hand from two readings of its metrics."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import chain, repeat

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from lmscore.client.cli.top import duration, top
from lmscore.client.exposition import Change, ExpositionError, Reading, parse, read
from lmscore.client.overview import overview

BEFORE = """\
lmscore_requests_total{method="Score",code="OK",model="m"} 100
lmscore_requests_total{method="Score",code="INTERNAL",model="m"} 0
lmscore_request_duration_seconds_bucket{method="Score",model="m",le="0.1"} 90
lmscore_request_duration_seconds_bucket{method="Score",model="m",le="0.2"} 100
lmscore_request_duration_seconds_bucket{method="Score",model="m",le="+Inf"} 100
lmscore_scored_tokens_total{model="m"} 1000
lmscore_oov_tokens_total{model="m"} 10
lmscore_model_loaded{model="m",version="9",kind="ngram",fingerprint="f"} 1
lmscore_model_loaded{model="m",version="10",kind="ngram",fingerprint="g"} 0
process_cpu_seconds_total{worker="0"} 5
"""
AFTER = """\
lmscore_requests_total{method="Score",code="OK",model="m"} 140
lmscore_requests_total{method="Score",code="INTERNAL",model="m"} 10
lmscore_requests_total{method="Score",code="NOT_FOUND",model=""} 20
lmscore_requests_total{method="Score",code="RESOURCE_EXHAUSTED",model="m"} 30
lmscore_request_duration_seconds_bucket{method="Score",model="m",le="0.1"} 140
lmscore_request_duration_seconds_bucket{method="Score",model="m",le="0.2"} 200
lmscore_request_duration_seconds_bucket{method="Score",model="m",le="+Inf"} 200
lmscore_running_calls{method="Score"} 3
lmscore_scored_tokens_total{model="m"} 6000
lmscore_oov_tokens_total{model="m"} 510
lmscore_model_loaded{model="m",version="9",kind="ngram",fingerprint="f"} 1
lmscore_model_loaded{model="m",version="10",kind="ngram",fingerprint="g"} 1
lmscore_model_loaded{model="gone",version="1",kind="ngram",fingerprint="h"} 0
lmscore_model_memory_bytes{model="m",version="9"} 1000
lmscore_model_memory_bytes{model="m",version="10"} 2000
lmscore_queue_depth{queue="ngram"} 4
lmscore_queue_tokens{queue="ngram"} 400
process_cpu_seconds_total{worker="0"} 12
process_cpu_seconds_total{worker="1"} 8
process_resident_memory_bytes{worker="0"} 100
process_resident_memory_bytes{worker="1"} 200
"""


def change(seconds: float = 10.0) -> Change:
    return Change(parse(BEFORE, 50.0), parse(AFTER, 50.0 + seconds))


def test_rates_are_growth_over_time() -> None:
    view = overview(change())

    assert view.calls_per_second == pytest.approx(10.0)  # 100 more in 10 s
    assert view.failures_per_second == pytest.approx(1.0)  # INTERNAL alone
    assert view.refused_per_second == pytest.approx(3.0)
    assert view.cores_used == pytest.approx(1.5)
    assert (view.processes, view.memory_bytes) == (2, 300)


def test_a_method_has_its_errors_running_calls_and_quantiles() -> None:
    [score] = overview(change()).methods

    assert (score.method, score.running) == ("Score", 3)
    assert score.calls_per_second == pytest.approx(10.0)
    assert score.errors_per_second == pytest.approx(6.0)
    # Of 100 new calls, 50 took up to 0.1 s and 50 more up to 0.2 s.
    assert score.p50_seconds == pytest.approx(0.1)
    assert score.p90_seconds == pytest.approx(0.18)
    assert score.p99_seconds == pytest.approx(0.198)


def test_a_model_has_what_it_did_and_only_versions_that_answer() -> None:
    [model] = overview(change()).models

    assert (model.model, model.versions, model.memory_bytes) == ("m", "9, 10", 3000)
    assert model.scored_tokens_per_second == pytest.approx(500.0)
    assert model.oov_ratio == pytest.approx(0.1)
    assert math.isnan(model.median_perplexity)  # none was observed


def test_a_server_that_was_restarted_has_counted_from_zero() -> None:
    backwards = Change(parse(AFTER, 0.0), parse(BEFORE, 10.0))

    assert backwards.rate("lmscore_scored_tokens_total", model="m") == pytest.approx(100.0)


@given(st.lists(st.floats(0.001, 9.0), min_size=1, max_size=200), st.sampled_from([0.1, 0.5, 0.99]))
def test_a_quantile_is_off_by_at_most_its_bucket(values: list[float], share: float) -> None:
    registry = CollectorRegistry()
    bounds = [float(bound) for bound in np.linspace(0.5, 10.0, 20)]
    histogram = Histogram("h", "h", registry=registry, buckets=bounds)
    nothing = parse(generate_latest(registry).decode(), 0.0)
    for value in values:
        histogram.observe(value)
    observed = Change(nothing, parse(generate_latest(registry).decode(), 1.0))

    true = np.quantile(values, share, method="inverted_cdf")
    assert observed.quantile(share, "h") == pytest.approx(true, abs=0.5)
    assert observed.mean("h") == pytest.approx(np.mean(values))


@pytest.fixture
def endpoint() -> Iterator[str]:
    pages = chain([BEFORE], repeat(AFTER))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            if self.path == "/metrics":
                self.wfile.write(next(pages).encode())

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])  # how often it looks
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_command_shows_methods_models_and_queues(endpoint: str) -> None:
    done = CliRunner().invoke(top, ["--metrics", endpoint, "--once", "--interval", "0.01"])

    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert "2 processes" in lines[1]
    assert "ngram: 4 requests, 400 tokens" in lines[2]
    assert any(line.startswith("Score") and "100 ms" in line for line in lines)
    assert any(line.startswith("m ") and "9, 10" in line and "10.0%" in line for line in lines)


def test_the_command_writes_json_without_what_was_not_observed(endpoint: str) -> None:
    arguments = [
        "--metrics",
        f"http://{endpoint}/metrics",
        "--once",
        "--json",
        "--interval",
        "0.01",
    ]
    done = CliRunner().invoke(top, arguments)
    record = json.loads(done.output)

    assert record["models"][0]["oov_ratio"] == pytest.approx(0.1)
    assert "median_perplexity" not in record["models"][0]
    assert record["methods"][0]["p50_seconds"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("address", "said"),
    [("127.0.0.1:9", "--metrics HOST:PORT"), ("file:///etc/hosts", "neither HOST:PORT nor")],
)
def test_metrics_that_cannot_be_read_are_one_line(address: str, said: str) -> None:
    done = CliRunner().invoke(top, ["--metrics", address, "--once"])

    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output


def test_another_page_of_the_endpoint_is_no_metrics(endpoint: str) -> None:
    with pytest.raises(ExpositionError, match="404"):
        read(f"http://{endpoint}/other")
    with pytest.raises(ExpositionError, match="not Prometheus' text format"):
        parse("<html>", 0.0)


def test_a_metric_that_is_not_there_is_zero() -> None:
    assert Reading(0.0, {}).total("lmscore_requests_total") == 0


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.000123, "123 µs"),
        (0.0456, "45.6 ms"),
        (0.2586, "259 ms"),
        (1.5, "1.50 s"),
        (math.nan, "-"),
    ],
)
def test_times_have_the_unit_that_suits_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
