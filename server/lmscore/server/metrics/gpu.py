"""What the GPUs are doing, asked when the metrics are read."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from lmscore.server.metrics.catalogue import PREFIX


class Nvml(Protocol):
    """The functions of the module pynvml that are needed here."""

    def nvmlInit(self) -> None:  # noqa: N802 - NVIDIA's names, here and below
        """Find the driver."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """Number of devices."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        """One of them."""

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:  # noqa: N802
        """Its memory in bytes: total and used."""

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:  # noqa: N802
        """In per cent: gpu and memory."""


class GpuCollector(Collector):
    """Memory and utilization of every GPU of the machine, whoever uses it.

    For one process of the machine's, which is the one that is scraped. A device that does not tell
    something has no sample of it: parts of a divided GPU have no utilization of their own.
    """

    def __init__(self, nvml: Nvml) -> None:
        """Raises what nvml raises where there is no driver."""
        nvml.nvmlInit()
        self._nvml = nvml

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics as they are now."""
        used = _family("gpu_memory_used_bytes", "Memory of a GPU that is in use.")
        total = _family("gpu_memory_total_bytes", "Memory of a GPU.")
        busy = _family("gpu_utilization_ratio", "Share of the last moments that a GPU worked in.")
        for index in range(self._nvml.nvmlDeviceGetCount()):
            device = [str(index)]
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            memory = _asked(self._nvml.nvmlDeviceGetMemoryInfo, handle)
            if memory is not None:
                used.add_metric(device, memory.used)
                total.add_metric(device, memory.total)
            rates = _asked(self._nvml.nvmlDeviceGetUtilizationRates, handle)
            if rates is not None:
                busy.add_metric(device, rates.gpu / 100)
        yield from (used, total, busy)


def add_gpus(registry: CollectorRegistry) -> bool:
    """Collect the machine's GPUs, if it has some and nvidia-ml-py to ask them; tells whether."""
    try:
        pynvml: Any = import_module("pynvml")  # which has no types
        registry.register(GpuCollector(pynvml))
    except Exception:  # noqa: BLE001 - no package, no driver, no device: no metrics of them
        return False
    return True


def _family(name: str, meaning: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=["device"])


def _asked(question: Any, handle: Any) -> Any:
    """The answer; None if the device has none."""
    try:
        return question(handle)
    except Exception:  # noqa: BLE001 - NVML's errors derive from Exception alone
        return None
