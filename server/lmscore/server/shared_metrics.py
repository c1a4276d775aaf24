"""Metrics of several processes added up, through files that each of them writes.

A process that is started again goes on in the files of the one before it: counters never fall, and
however often it happens, there are no more files.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where the files are; prometheus_client reads it when it is imported."""

_ATTEMPTS = 5
_PAUSE_SECONDS = 0.01


def environment_for(folder: Path) -> Mapping[str, str]:
    """What a process needs to know before it starts so that its metrics are shared."""
    return {FOLDER_VARIABLE: str(folder)}


def count_as(worker: str) -> None:
    """Write what this process counts under the name of a worker, instead of the process's id."""
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]


def forget(folder: Path, worker: str) -> None:
    """Take back what was true only while a worker ran: its gauges. Counters keep counting."""
    for file in folder.glob(f"gauge_*_{worker}.db"):
        file.unlink(missing_ok=True)


class SharedMetrics(Collector):
    """The sum of what all processes have written."""

    def __init__(self, folder: Path) -> None:
        self._files = MultiProcessCollector(None, path=str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Every metric once, whichever processes it comes from."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._read()
            except (FileNotFoundError, struct.error):
                # A file went with its worker after it was listed, or a new one is empty still.
                time.sleep(_PAUSE_SECONDS)
        return self._read()

    def _read(self) -> list[Metric]:
        return list(self._files.collect())  # type: ignore[no-untyped-call]
