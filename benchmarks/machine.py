"""The machine that measures: its parts, its programs, and who else uses it."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "numpy", "numba", "grpcio", "kenlm", "onnxruntime")
INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 BF16",
    "amx_bf16": "AMX",
}


@dataclass(frozen=True)
class Machine:
    processor: str
    cores: int  # that this program may use
    memory_gib: float
    system: str
    python: str
    gpu: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    load: float = 0.0  # average of the minute before


def this_machine() -> Machine:
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        gpu=_gpu(),
        packages={name: found for name in PACKAGES if (found := _version(name))},
        load=round(os.getloadavg()[0], 2),
    )


def commit() -> str:
    """Of the tree that is measured, marked where it has been changed since."""
    written = (f":!{path}" for path in ("benchmarks/results", "docs/performance.md", "docs/plots"))
    head = _git("rev-parse", "--short=9", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *written)
    return f"{head or 'unknown'}{'-changed' if changed else ''}"


def _git(*arguments: str) -> str:
    """What it prints; nothing where this is no clone."""
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


class Usage:
    """How much of the machine others take, from when this is made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._all, self._own = _busy_seconds(), _own_seconds()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def elsewhere(self) -> float:
        """Cores that programs other than this one and those it has waited for have taken."""
        others = _busy_seconds() - self._all - (_own_seconds() - self._own)
        return round(max(0.0, others) / self.seconds, 2)


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times[:8]) - times.idle - getattr(times, "iowait", 0.0))


def _own_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.*)$", text, re.MULTILINE)
    there = flags[1].split() if flags else []
    known = (shown for flag, shown in INSTRUCTIONS.items() if flag in there)
    return ", ".join([name[1].strip() if name else platform.machine(), *known])


def _gpu() -> str:
    """Its name, where there is one."""
    try:
        pynvml: Any = import_module("pynvml")  # which has no types
    except ModuleNotFoundError:
        return ""
    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0)))
    except pynvml.NVMLError:
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
