"""What an operator wants to know of a server at a glance, from two readings of its metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmscore.client.exposition import Change

PREFIX = "lmscore_"
FAILURES = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED")
"""Codes of calls that ended through a fault of the service, as in the dashboard and the alerts."""


@dataclass(frozen=True)
class MethodActivity:
    """Calls of one method; durations are NaN where none ended."""

    method: str
    calls_per_second: float
    errors_per_second: float  # that did not end with OK
    running: float
    p50_seconds: float
    p90_seconds: float
    p99_seconds: float


@dataclass(frozen=True)
class ModelActivity:
    """Work of one model; NaN where nothing was done."""

    model: str
    versions: str  # that answer, "2" or "2, 3"
    scored_tokens_per_second: float
    generated_tokens_per_second: float
    batch_tokens: float  # mean
    queue_seconds: float  # mean
    compute_seconds: float  # mean
    active_sequences: float
    oov_ratio: float
    median_perplexity: float
    memory_bytes: float


@dataclass(frozen=True)
class QueueState:
    """What waits, or runs."""

    queue: str
    requests: float
    tokens: float


@dataclass(frozen=True)
class Overview:
    """A server at a glance."""

    calls_per_second: float
    failures_per_second: float
    refused_per_second: float
    processes: int
    cores_used: float
    memory_bytes: float
    methods: tuple[MethodActivity, ...]
    models: tuple[ModelActivity, ...]
    queues: tuple[QueueState, ...]


def overview(change: Change) -> Overview:
    """What happened between two readings, and how things stand at the later one."""
    now = change.after
    requests = f"{PREFIX}requests_total"
    return Overview(
        calls_per_second=change.rate(requests),
        failures_per_second=sum(change.rate(requests, code=code) for code in FAILURES),
        refused_per_second=change.rate(requests, code="RESOURCE_EXHAUSTED"),
        processes=max(1, len(now.series("process_resident_memory_bytes"))),
        cores_used=change.rate("process_cpu_seconds_total"),
        memory_bytes=now.total("process_resident_memory_bytes"),
        methods=tuple(_method(change, name) for name in sorted(now.by(requests, "method"))),
        models=tuple(_model(change, name) for name in _loaded(change)),
        queues=tuple(
            QueueState(queue, requests, now.total(f"{PREFIX}queue_tokens", queue=queue))
            for queue, requests in sorted(now.by(f"{PREFIX}queue_depth", "queue").items())
        ),
    )


def _method(change: Change, method: str) -> MethodActivity:
    requests, duration = f"{PREFIX}requests_total", f"{PREFIX}request_duration_seconds"
    calls = change.rate(requests, method=method)
    p50, p90, p99 = (change.quantile(share, duration, method=method) for share in (0.5, 0.9, 0.99))
    return MethodActivity(
        method,
        calls,
        max(0.0, calls - change.rate(requests, method=method, code="OK")),
        change.after.total(f"{PREFIX}running_calls", method=method),
        p50,
        p90,
        p99,
    )


def _loaded(change: Change) -> list[str]:
    loaded = change.after.by(f"{PREFIX}model_loaded", "model")
    return sorted(name for name, processes in loaded.items() if processes)


def _model(change: Change, model: str) -> ModelActivity:
    now = change.after
    loaded = now.by(f"{PREFIX}model_loaded", "version", model=model)
    versions = sorted((version for version, processes in loaded.items() if processes), key=int)
    scored = change.rate(f"{PREFIX}scored_tokens_total", model=model)
    oov = change.rate(f"{PREFIX}oov_tokens_total", model=model)
    return ModelActivity(
        model,
        ", ".join(versions),
        scored,
        change.rate(f"{PREFIX}generated_tokens_total", model=model),
        change.mean(f"{PREFIX}batch_tokens", model=model),
        change.mean(f"{PREFIX}queue_duration_seconds", model=model),
        change.mean(f"{PREFIX}compute_duration_seconds", model=model),
        now.total(f"{PREFIX}active_sequences", model=model),
        oov / scored if scored else math.nan,
        change.quantile(0.5, f"{PREFIX}text_perplexity", model=model),
        now.total(f"{PREFIX}model_memory_bytes", model=model),
    )
