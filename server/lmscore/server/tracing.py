"""Spans of every call, sent to an OpenTelemetry collector; only if that is asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import grpc

from lmscore.server.call import Call, Stage
from lmscore.server.observer import Ending

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Span


class TracingError(Exception):
    """Traces cannot be made; the message says what is missing."""


class Tracing:
    """A span for each call, as a child of its caller's, with one for each time it waited or ran.

    Spans tell what the request log does, and never a text.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("lmscore.server")
        self._propagator = TraceContextTextMapPropagator()
        self._spans: dict[int, Span] = {}  # of calls in progress, by id()

    def began(self, call: Call, metadata: Mapping[str, str]) -> None:
        """Begin the span of a call, if its caller or chance wants it traced."""
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(
            call.method,
            context=self._propagator.extract(metadata),
            kind=SpanKind.SERVER,
            attributes={
                "rpc.system.name": "grpc",
                "rpc.method": call.method,
                "lmscore.request_id": call.id,
            },
        )
        if span.is_recording():
            call.stages = []
            call.trace_id = f"{span.get_span_context().trace_id:032x}"
            self._spans[id(call)] = span

    def ended(self, call: Call, ending: Ending) -> None:
        """End its span."""
        from opentelemetry.trace import StatusCode

        span = self._spans.pop(id(call), None)
        if span is None:
            return
        for stage in call.stages or ():
            self._add(stage, span)
        span.set_attributes(
            {
                "rpc.response.status_code": ending.code.name,
                "lmscore.model": call.model,
                "lmscore.model_version": call.version,
                "lmscore.tokens": call.tokens,
            }
        )
        if ending.code is not grpc.StatusCode.OK:
            span.set_attribute("error.type", ending.reason or ending.code.name)
            span.set_status(StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Send what has not been sent yet."""
        self._provider.shutdown()

    def _add(self, stage: Stage, parent: Span) -> None:
        from opentelemetry.trace import set_span_in_context

        end = time.time_ns() - int((time.monotonic() - stage.end) * 1e9)
        span = self._tracer.start_span(
            stage.name,
            context=set_span_in_context(parent),
            start_time=end - int(stage.seconds * 1e9),
            attributes={"lmscore.batch_requests": stage.requests},
        )
        span.end(end)


def tracing_of(endpoint: str, ratio: float) -> Tracing | None:
    """Traces of that share of calls, to an OTLP/gRPC address; none without one.

    Raises TracingError if the extra is not installed.
    """
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        problem = f"trace_endpoint needs {error.name}: pip install 'lmscore[tracing]'"
        raise TracingError(problem) from None
    insecure = not endpoint.startswith("https://")
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=insecure)
    return Tracing(provider(BatchSpanProcessor(exporter), ratio))


def provider(processor: SpanProcessor, ratio: float) -> TracerProvider:
    """What makes spans, of a share of the calls whose callers have not decided that themselves."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider as Provider
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    made = Provider(
        sampler=ParentBasedTraceIdRatio(ratio),
        resource=Resource.create({SERVICE_NAME: "lmscore-server"}),
        shutdown_on_exit=False,
    )
    made.add_span_processor(processor)
    return made
