"""A server in a process of its own, whose log, memory and end can be looked at."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.server.harness import server_command

START_SECONDS = 250.0  # where nothing was compiled before, and others compile as well


class SoakServer:
    """A server that writes its log to a file, so that it never waits for a reader of it."""

    def __init__(self, log: Path, *arguments: str, port: int = 0) -> None:
        self._log = log
        self._arguments = arguments
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._from = 0  # where the log of the present process begins

    @property
    def address(self) -> str:
        """Where it listens; the same for all its processes."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The present process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start a process and wait until all its models answer."""
        self._log.touch()
        self._from = self._log.stat().st_size
        listen = ["--listen", f"127.0.0.1:{self._port}", "--log-format", "json"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                server_command(*listen, *self._arguments), stdout=log, stderr=log
            )
        self._port = int(self._wait_for("ready")["address"].rpartition(":")[2])

    def kill(self) -> None:
        """End it without a warning, as SIGKILL does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it as an operator does; gives its exit code."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def memory_bytes(self) -> int:
        """Resident memory of the process and of those that it has started."""
        process = psutil.Process(self.pid)
        family = [process, *process.children(recursive=True)]
        return sum(each.memory_info().rss for each in family)

    def calls_before_ready(self) -> int:
        """Calls that ended in the present process before all its models answered."""
        early = 0
        for line in self._log.read_text()[self._from :].splitlines():
            if '"ready"' in line:
                return early
            early += '"event": "request' in line  # also those that were left out
        return early

    def count(self, event: str) -> int:
        """How often something was logged, by earlier processes as well."""
        return self.log_text().count(f'"event": "{event}"')

    def log_text(self) -> str:
        """All that was logged, by earlier processes as well."""
        return self._log.read_text()

    def _wait_for(self, event: str) -> dict[str, Any]:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.alive():
            for line in self._log.read_text()[self._from :].splitlines(keepends=True):
                if line.endswith("\n") and f'"{event}"' in line:
                    found: dict[str, Any] = json.loads(line)
                    return found
            time.sleep(0.05)
        raise AssertionError(f"the server did not get {event}: {self.log_text()}")


@contextmanager
def soak_server(log: Path, *arguments: str) -> Iterator[SoakServer]:
    """A server that answers, ended when this is left."""
    server = SoakServer(log, *arguments)
    try:
        server.start()
        yield server
    finally:
        if server.alive():
            server.kill()
