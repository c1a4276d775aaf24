"""A server of one process, with its metrics."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry

from lmscore.server.lifecycle import serve
from lmscore.server.metrics.gpu import add_gpus
from lmscore.server.metrics_endpoint import metrics_served
from lmscore.server.observability import observability_of
from lmscore.server.process_metrics import WorkerMetrics
from lmscore.server.settings import Settings
from lmscore.server.stages import CurrentStage


async def serve_alone(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises StartError or ModelError when it cannot start."""
    registry, stage = CollectorRegistry(), CurrentStage()
    WorkerMetrics(registry, 1, lambda: {"0": os.getpid()}, lambda: int(stage.serving))
    observability = observability_of(settings, registry)
    add_gpus(registry)

    def collect() -> CollectorRegistry:
        observability.refresh()
        return registry

    with metrics_served(settings.metrics, collect, lambda: stage.serving):
        await serve(settings, tell=stage.tell, observability=observability)
