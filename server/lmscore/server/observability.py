"""Everything that watches a server: made from its settings, kept up to date, and ended."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from lmscore.models.errors import ModelError
from lmscore.server.generation.generator import Generator
from lmscore.server.metrics.metrics import Metrics
from lmscore.server.observer import CallWatcher, Observer
from lmscore.server.repository import ModelRepository, ServedModel
from lmscore.server.request_log import RequestLog
from lmscore.server.settings import Settings
from lmscore.server.stages import StartError
from lmscore.server.tracing import Tracing, TracingError, tracing_of

REFRESH_SECONDS = 1.0


@dataclass
class Observability:
    """Who is told of what the models do, and who of calls; nobody unless given."""

    observer: Observer = field(default_factory=Observer)
    watchers: tuple[CallWatcher, ...] = ()
    metrics: Metrics | None = None
    tracing: Tracing | None = None
    _task: asyncio.Task[None] | None = None

    async def loading(self, model: str, load: Awaitable[ServedModel]) -> ServedModel:
        """What a load gives, with how it went told to the observer. Raises what it raises."""
        started = time.perf_counter()
        try:
            served = await load
        except ModelError:
            self.observer.load_failed(model)
            raise
        self.observer.loaded(served, time.perf_counter() - started)
        return served

    def start(self, repository: ModelRepository, generator: Generator) -> None:
        """Keep metrics up to date, in a task on the event loop."""
        for entry in repository.all():
            self.observer.announced(entry.name)
        if self.metrics is not None:
            self.metrics.add_probe(lambda: _tell_generations(self.observer, repository, generator))
            self._task = asyncio.create_task(_repeat(self.metrics.refresh))

    def refresh(self) -> None:
        """Count what waits to be counted; from any thread."""
        if self.metrics is not None:
            self.metrics.refresh()

    async def close(self) -> None:
        """Count what waits to be, and send the last spans."""
        if self._task is not None:
            self._task.cancel()
        self.refresh()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)


def observability_of(
    settings: Settings, registry: CollectorRegistry | None = None
) -> Observability:
    """What the settings ask for, counted in a registry. Raises StartError."""
    metrics = Metrics(registry or CollectorRegistry())
    try:
        tracing = tracing_of(settings.trace_endpoint, settings.trace_ratio)
    except TracingError as error:
        raise StartError(str(error)) from None
    # Spans first: they say which trace an example in the metrics and a line in the log are of.
    watchers: list[CallWatcher] = [tracing] if tracing else []
    watchers.append(metrics)
    if settings.request_log_rate:
        watchers.append(RequestLog(settings.request_log_rate))
    return Observability(metrics, tuple(watchers), metrics, tracing)


async def _repeat(work: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        work()


def _tell_generations(
    observer: Observer, repository: ModelRepository, generator: Generator
) -> None:
    totals = {entry.name: Counter[str]() for entry in repository.all()}
    names = {id(e.model): e.name for e in repository.all() if isinstance(e, ServedModel)}
    for load in generator.loads():
        if id(load.model) in names:
            totals[names[id(load.model)]].update(active=load.active, waiting=load.waiting)
    for name, total in totals.items():
        observer.generations(name, total["active"], total["waiting"])
