"""Which trace a call is part of, for programs that make traces with OpenTelemetry."""

from __future__ import annotations

import sys

Metadata = tuple[tuple[str, str], ...]


def trace_metadata() -> Metadata:
    """The W3C trace context of the active span as a call's metadata; empty if there is none.

    A program that has not imported OpenTelemetry has no active span, and imports nothing for this.
    """
    if "opentelemetry.trace" not in sys.modules:
        return ()
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return tuple(carrier.items())
