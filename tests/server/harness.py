"""A real server on a real port, in this process or in one of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from click.testing import CliRunner, Result
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from lmscore.server.building import build
from lmscore.server.command import command
from lmscore.server.convert import field_values, score_reply
from lmscore.server.model_source import ModelSource
from lmscore.server.observability import Observability
from lmscore.server.repository import ServedModel
from lmscore.server.server import Server
from lmscore.server.settings import Settings
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub as _Stub
from lmscore.v1.model_service_pb2_grpc import ModelServiceStub as _ModelStub


@dataclass
class Connection:
    """A running server and a channel to it."""

    server: Server
    channel: grpc.aio.Channel

    @property
    def stub(self) -> Any:
        return _Stub(self.channel)

    @property
    def models(self) -> Any:
        return _ModelStub(self.channel)


@asynccontextmanager
async def running(
    settings: Settings, *, load: bool = True, observability: Observability | None = None
) -> AsyncIterator[Connection]:
    server = await build(settings, observability=observability)
    await server.open()
    if load:
        await server.load_models()
    else:  # which would have compiled what a call would now wait for
        field_values.warm_up()
        score_reply.warm_up()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield Connection(server, channel)
    finally:
        await server.stop()


@contextmanager
def running_on_a_thread(settings: Settings, *served: ServedModel) -> Iterator[str]:
    """Where a server listens, for clients that block; it has these models, or loads its own."""
    started: Future[tuple[str, asyncio.AbstractEventLoop]] = Future()
    stop = asyncio.Event()

    async def serve() -> None:
        async with running(settings, load=not served) as connection:
            for model in served:
                connection.server.repository.add(model)
            started.set_result((connection.server.address, asyncio.get_running_loop()))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    address, loop = started.result(timeout=280)
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def settings_for(path: Path, **overrides: Any) -> Settings:
    """A server of one model on a free port; its log has no lines for calls unless asked for."""
    given: dict[str, Any] = {"model": (ModelSource(name="tiny", path=path),), "request_log_rate": 0}
    return Settings(**{"listen": "127.0.0.1:0", **given, **overrides})


@dataclass(frozen=True)
class Failure:
    """How a call ended: its code, and the details by type."""

    code: grpc.StatusCode
    message: str
    reason: str
    fields: list[str]
    retry_after_seconds: float | None
    resource: str | None
    metadata: dict[str, str]


def failure_of(error: grpc.RpcError) -> Failure:
    received: Any = error.trailing_metadata() or ()  # its stub is opaque
    trailing = dict(received)
    status = Status.FromString(trailing["grpc-status-details-bin"])
    details: dict[type[Message], Any] = {}
    for packed in status.details:
        for kind in (BadRequest, ErrorInfo, ResourceInfo, RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                details[kind] = kind.FromString(packed.value)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    info = details[ErrorInfo]
    assert info.domain == "lmscore"
    violations = details[BadRequest].field_violations if BadRequest in details else []
    retry = details.get(RetryInfo)
    return Failure(
        error.code(),
        status.message,
        info.reason,
        [violation.field for violation in violations],
        retry.retry_delay.ToMicroseconds() / 1e6 if retry else None,
        details[ResourceInfo].resource_name if ResourceInfo in details else None,
        dict(info.metadata),
    )


@dataclass
class ServerProcess:
    """A server in its own process, with the log lines it has written so far."""

    process: subprocess.Popen[str]
    address: str
    events: list[dict[str, Any]]

    def wait_for(self, event: str) -> dict[str, Any]:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                return self.events[-1]
        raise AssertionError(f"the server ended without {event!r}: {self.events}")


def server_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lmscore.server.launcher", *arguments]


def command_here(*arguments: str, **environment: str) -> Result:
    """The command within this process, which is sooner; not for what starts, or sets up its log."""
    unset = {name: None for name in os.environ if name.startswith("LMSCORE_")}
    given: dict[str, str | None] = {**unset, **environment}
    return CliRunner(catch_exceptions=False).invoke(command, arguments, env=given)


def run_server_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LMSCORE_")}
    return subprocess.run(
        server_command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**clean, **environment},
    )
