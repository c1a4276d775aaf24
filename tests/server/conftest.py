"""Fixtures that run a real server on a real port, in this process or in one of its own."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.server.harness import Connection, ServerProcess, running, server_command, settings_for


@pytest.fixture
async def connection(tiny_arpa: Path) -> AsyncIterator[Connection]:
    async with running(settings_for(tiny_arpa)) as connected:
        yield connected


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers on free ports; they are ended when the test is over."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> ServerProcess:
        process = subprocess.Popen(
            server_command("--listen", "127.0.0.1:0", "--log-format", "json", *arguments),
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        server = ServerProcess(process, "", [])
        server.address = server.wait_for("ready")["address"]
        return server

    yield start
    for process in started:
        process.kill()
        process.communicate()
