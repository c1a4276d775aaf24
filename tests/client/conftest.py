"""A server to talk to, and clients that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lmscore.client import AsyncClient, Client
from lmscore.client.cli.app import run
from tests.client.commands import Lmscore
from tests.client.fake_server import Behaviour, FakeServer, start

TIMEOUT = 60.0  # of calls that are answered: no machine stands still for as long


@pytest.fixture
def server() -> Iterator[FakeServer]:
    running = start(Behaviour())
    yield running
    running.behaviour.stream_pause.set()  # or what waits for it would be waited for
    running.grpc_server.stop(grace=None).wait()


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(server.address, model="fake", timeout=TIMEOUT) as connected:
        yield connected


@pytest.fixture
async def async_client(server: FakeServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.address, model="fake", timeout=TIMEOUT) as connected:
        yield connected


@pytest.fixture
def lmscore(
    server: FakeServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Lmscore:
    monkeypatch.setenv("LMSCORE_ADDRESS", server.address)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        exit_code = run([str(argument) for argument in arguments])
        return exit_code, *capfd.readouterr()

    return call
