"""Memory, time and files of every process of the server, and how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector


class WorkerMetrics:
    """The metrics of a server as a set of processes, which may be a set of one."""

    def __init__(
        self,
        registry: CollectorRegistry,
        workers: int,
        pids: Callable[[], Mapping[str, int]],
        count_serving: Callable[[], int],
    ) -> None:
        expected = Gauge(
            "lmscore_workers_expected", "Processes that are to serve.", registry=registry
        )
        expected.set(workers)
        serving = Gauge("lmscore_workers", "Processes that serve.", registry=registry)
        serving.set_function(count_serving)
        self.restarts = Counter(
            "lmscore_worker_restarts_total",
            "Times that a process was started again because it had ended.",
            ["worker"],
            registry=registry,
        )
        for index in range(workers):
            self.restarts.labels(str(index))
        registry.register(ProcessesCollector(pids))


class ProcessesCollector(Collector):
    """What prometheus_client tells of its own process, for several, with a label that tells which.

    A server of one process has the label too, so that the same dashboard shows both.
    """

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids  # by worker

    def collect(self) -> Iterable[Metric]:
        """The metrics of the processes that run now; none where there is no /proc."""
        families: dict[str, Metric] = {}
        for worker, pid in self._pids().items():
            for family in _of_process(pid):
                kept = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    kept.add_sample(sample.name, {"worker": worker}, sample.value)
        return families.values()


def _of_process(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()
