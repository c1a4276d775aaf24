"""Servers that benchmarks start, as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0))


def pin(core: int) -> None:
    """Keep this process to one core; counts from 0 among those that it may use."""
    os.sched_setaffinity(0, {CORES[core % len(CORES)]})


@contextmanager
def server(model: Path, *options: str, core: int | None = None) -> Iterator[str]:
    """The address of a server of one model, "m", that is ready."""
    command = [sys.executable, "-m", "lmscore.server.launcher", "--model", f"m={model}"]
    process = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--log-format", "json", *options],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if core is None else lambda: pin(core),  # noqa: PLW1509 - sets the affinity
    )
    try:
        yield _address(process)
    finally:
        process.terminate()
        process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    told: list[str] = []
    for line in process.stderr:
        told.append(line)
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "ready":
            # Or else the pipe would fill.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            address: str = event["address"]
            return address
    raise RuntimeError(f"the server did not start: {''.join(told[-10:])}")


@contextmanager
def printing(command: Sequence[str], core: int | None = None) -> Iterator[tuple[str, int]]:
    """The first line that a program prints, and its process id; it is stopped in the end."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=None if core is None else lambda: pin(core),  # noqa: PLW1509
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.terminate()
        process.wait()
