"""What connections and calls see of a server that shuts down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.harness import failure_of, running, settings_for

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, GOAWAY = 4, 7  # types of HTTP/2 frames
NO_SETTINGS = bytes([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0])
SCORE = wire.ScoreRequest(model=ModelSelector(name="tiny"), texts=["a b"])


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[int]:
    """Types of the frames that come, until the connection is closed."""
    try:
        while True:
            header = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(header[:3], "big"))
            yield header[3]
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return


async def test_an_idle_connection_is_told_to_go_away(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa), load=False) as connected:
        reader, writer = await asyncio.open_connection("127.0.0.1", connected.server.port)
        writer.write(PREFACE + NO_SETTINGS)
        received = frames(reader)
        assert await anext(received) == SETTINGS  # the connection is there
        await connected.server.drain()
        await connected.server.stop()
        async with asyncio.timeout(60):
            assert GOAWAY in [kind async for kind in received]
        writer.close()


async def test_while_draining_streams_go_on_and_what_is_new_is_sent_elsewhere(
    tiny_arpa: Path,
) -> None:
    settings = settings_for(tiny_arpa, drain_timeout_seconds=60)
    async with running(settings) as connected:
        stream = connected.stub.ScoreStream()
        request = wire.ScoreStreamRequest(request_id=1, score=SCORE)
        await stream.write(request)
        assert (await stream.read()).score.scores
        draining = asyncio.create_task(connected.server.drain())
        await asyncio.sleep(0)

        health: Any = health_pb2_grpc.HealthStub(connected.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=""))
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as refused:
            await connected.stub.Score(SCORE)
        failed = failure_of(refused.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert failed.retry_after_seconds == 1

        await stream.write(request)
        assert (await stream.read()).score.scores
        assert not draining.done()
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        async with asyncio.timeout(60):
            await draining


async def test_what_outlasts_the_drain_timeout_is_cancelled_and_told_why(tiny_arpa: Path) -> None:
    settings = settings_for(tiny_arpa, drain_timeout_seconds=0.05)
    async with running(settings) as connected:
        stream = connected.stub.ScoreStream()
        await stream.write(wire.ScoreStreamRequest(request_id=1, score=SCORE))
        assert (await stream.read()).score.scores
        await connected.server.drain()
        with pytest.raises(grpc.RpcError) as ended:
            await stream.read()
        failed = failure_of(ended.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.CANCELLED, "DRAIN_TIMEOUT")
