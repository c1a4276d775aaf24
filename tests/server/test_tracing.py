"""Spans of calls: whose children they are, what they say, and that they arrive."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lmscore.client import AsyncClient, Client, ModelNotFoundError
from lmscore.client.trace_context import trace_metadata
from lmscore.server.building import build
from lmscore.server.call import Call
from lmscore.server.observability import Observability, observability_of
from lmscore.server.observer import Ending
from lmscore.server.stages import StartError
from lmscore.server.tracing import Tracing, provider
from tests.server.harness import running, settings_for


class Collected:
    """Spans that were made, by name."""

    def __init__(self, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing(provider(SimpleSpanProcessor(self._exporter), ratio))

    def all(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def one(self, name: str) -> ReadableSpan:
        [span] = [span for span in self.all() if span.name == name]
        return span


def watched(tiny_arpa: Path, collected: Collected) -> Observability:
    usual = observability_of(settings_for(tiny_arpa))
    watchers = (collected.tracing, *usual.watchers)
    return Observability(usual.observer, watchers, usual.metrics, collected.tracing)


async def test_a_call_is_a_child_of_its_callers_span(tiny_arpa: Path) -> None:
    collected, tracer = Collected(), TracerProvider().get_tracer("test")
    watch = watched(tiny_arpa, collected)
    async with running(settings_for(tiny_arpa), observability=watch) as connection:
        address = connection.server.address
        async with AsyncClient(address, model="tiny") as client:
            with tracer.start_as_current_span("ours") as ours:
                await client.score(["a secret"])
            with pytest.raises(ModelNotFoundError):
                await client.predict(["a secret"], model="secret")
        with Client(address, model="tiny") as blocking, tracer.start_as_current_span("other") as o:
            await asyncio.to_thread(blocking.tokenize, ["a secret"])
        await connection.server.calls.drain()

    score, predict = collected.one("Score"), collected.one("Predict")
    assert score.kind is trace.SpanKind.SERVER
    assert score.parent is not None
    assert score.parent.span_id == ours.get_span_context().span_id
    assert score.context.trace_id == ours.get_span_context().trace_id
    assert collected.one("Tokenize").context.trace_id == o.get_span_context().trace_id
    assert predict.parent is None
    assert predict.status.status_code is trace.StatusCode.ERROR
    assert score.attributes is not None
    assert predict.attributes is not None
    assert score.attributes["lmscore.model"] == "tiny"
    assert score.attributes["lmscore.tokens"] == 3
    assert predict.attributes["error.type"] == "MODEL_NOT_FOUND"
    assert "secret" not in str([span.to_json() for span in collected.all()])


def test_times_of_waiting_and_computing_are_children() -> None:
    collected, call = Collected(), Call("Score", "nobody")
    collected.tracing.began(call, {})
    call.spent(queue_seconds=0.25, compute_seconds=0.5, requests=3)
    call.spent(compute_seconds=0.125)
    collected.tracing.ended(call, Ending())

    score = collected.one("Score")
    children = [span for span in collected.all() if span is not score]
    told = []
    for span in children:
        assert span.parent is not None
        assert span.parent.span_id == score.context.span_id
        assert span.attributes is not None
        assert span.start_time is not None
        assert span.end_time is not None
        seconds = (span.end_time - span.start_time) / 1e9
        told.append((span.name, round(seconds, 6), span.attributes["lmscore.batch_requests"]))
    assert told == [("queue", 0.25, 3), ("compute", 0.5, 3), ("compute", 0.125, 1)]
    assert children[0].end_time == pytest.approx(children[1].start_time, abs=2_000_000)
    assert (call.queue_seconds, call.compute_seconds) == (0.25, 0.625)


def test_the_caller_decides_whether_a_call_is_traced() -> None:
    collected = Collected(ratio=0.0)
    for flag in ("00", "01"):
        call = Call("Score", "nobody")
        parent = f"00-{'ab' * 16}-{'cd' * 8}-{flag}"
        collected.tracing.began(call, {"traceparent": parent})
        assert call.trace_id == ("ab" * 16 if flag == "01" else "")
        call.spent(compute_seconds=0.1)
        collected.tracing.ended(call, Ending())
    unasked = Call("Score", "nobody")
    collected.tracing.began(unasked, {})
    collected.tracing.ended(unasked, Ending())

    assert [span.name for span in collected.all()] == ["compute", "Score"]


def test_without_a_span_no_metadata_is_sent() -> None:
    assert trace_metadata() == ()


@contextmanager
def receiver() -> Iterator[tuple[str, list[Any], threading.Event]]:
    """A collector on a port of this machine, and the spans that it has been sent."""
    received: list[Any] = []
    came = threading.Event()

    class Collector(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    received.extend(scope.spans)
            came.set()
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(Collector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", received, came
    finally:
        server.stop(None).wait()


async def test_spans_arrive_at_a_collector(tiny_arpa: Path) -> None:
    with receiver() as (address, received, came):
        settings = settings_for(tiny_arpa, trace_endpoint=address)
        async with running(settings) as connection:
            async with AsyncClient(connection.server.address, model="tiny") as client:
                await client.score(["a"])
            await connection.server.calls.drain()
            metrics = connection.server.observability.metrics
        assert await asyncio.to_thread(came.wait, 60)

    assert sorted(span.name for span in received) == ["Score", "compute"]
    assert metrics is not None
    examples = [
        sample.exemplar.labels["trace_id"]
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.exemplar is not None
    ]
    assert examples == [received[0].trace_id.hex()]


async def test_a_missing_extra_is_named(tiny_arpa: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(StartError, match=r"pip install 'lmscore\[tracing\]'"):
        await build(settings_for(tiny_arpa, trace_endpoint="http://127.0.0.1:4317"))
