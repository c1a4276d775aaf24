"""Calls that have ended, noted as they do and counted together."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import TypeVar

import grpc
import numpy as np

from lmscore.server.call import Call
from lmscore.server.metrics.catalogue import CallMetrics
from lmscore.server.observer import Ending
from lmscore.v1 import language_model_service_pb2, model_service_pb2

METHODS = frozenset(
    method.name
    for file in (language_model_service_pb2, model_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)


Item = TypeVar("Item")


class CountedCalls:
    """Counts calls; they begin and end on one thread, and may be counted on another."""

    def __init__(self, metrics: CallMetrics, known_model: Callable[[str], str]) -> None:
        """Known_model gives the name of a model of this server, and the empty one for others."""
        self._metrics = metrics
        self._known_model = known_model
        self._running: Counter[str] = Counter()  # by method
        self._endings: deque[tuple[str, str, grpc.StatusCode, str]] = deque()
        self._durations: deque[tuple[str, str, float]] = deque()

    def began(self, method: str) -> None:
        """Note a call that runs."""
        self._running[method] += 1

    def ended(self, call: Call, ending: Ending) -> None:
        """Note a call that does not run any more."""
        self._running[call.method] -= 1
        self._endings.append((call.method, call.model, ending.code, ending.reason))
        seconds = time.monotonic() - call.began
        if call.trace_id:
            duration = self._metrics.duration.labels(*self._labels(call.method, call.model))
            duration.observe(seconds, {"trace_id": call.trace_id})
        else:
            self._durations.append((call.method, call.model, seconds))

    def count(self) -> None:
        """Count what has been noted so far."""
        for method, running in list(self._running.items()):
            self._metrics.running.labels(_known_method(method)).set(running)
        endings = Counter(_taken(self._endings))
        for (called, chosen, code, reason), count in endings.items():
            method, model = self._labels(called, chosen)
            self._metrics.requests.labels(method, code.name, model).inc(count)
            if reason:
                self._metrics.rejected.labels(reason).inc(count)
        seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for called, chosen, duration in _taken(self._durations):
            seconds[self._labels(called, chosen)].append(duration)
        for labels, durations in seconds.items():
            self._metrics.duration.labels(*labels).observe_many(np.array(durations))

    def _labels(self, method: str, model: str) -> tuple[str, str]:
        return _known_method(method), self._known_model(model)


def _known_method(method: str) -> str:
    return method if method in METHODS else ""


def _taken(waiting: deque[Item]) -> list[Item]:
    """What waits, except for what comes meanwhile."""
    return [waiting.popleft() for _ in range(len(waiting))]
