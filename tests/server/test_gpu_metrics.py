"""What is told of GPUs, with a driver that is made up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from lmscore.server.metrics.gpu import GpuCollector


class Nvml:
    """Two devices, the second of which is a part of one and has no utilization of its own."""

    def __init__(self) -> None:
        self.used = [3_000, 500]

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=10_000, used=self.used[handle], free=0)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        if handle == 1:
            raise RuntimeError("Not Supported")
        return SimpleNamespace(gpu=37, memory=5)


class NoDriver(Nvml):
    def nvmlInit(self) -> None:  # noqa: N802
        raise RuntimeError("Driver Not Loaded")


def read(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels["device"]): sample.value
        for family in parse(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_each_device_tells_what_it_can() -> None:
    nvml, registry = Nvml(), CollectorRegistry()
    registry.register(GpuCollector(nvml))

    assert read(registry) == {
        ("lmscore_gpu_memory_used_bytes", "0"): 3_000,
        ("lmscore_gpu_memory_used_bytes", "1"): 500,
        ("lmscore_gpu_memory_total_bytes", "0"): 10_000,
        ("lmscore_gpu_memory_total_bytes", "1"): 10_000,
        ("lmscore_gpu_utilization_ratio", "0"): 0.37,
    }
    nvml.used[0] = 4_000
    assert read(registry)["lmscore_gpu_memory_used_bytes", "0"] == 4_000


def test_without_a_driver_there_is_no_collector() -> None:
    with pytest.raises(RuntimeError, match="Driver"):
        GpuCollector(NoDriver())
