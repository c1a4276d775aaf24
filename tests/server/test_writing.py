"""Answers that are being written when their call fails."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from lmscore.server.writing import write_whole
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.harness import Connection, running, settings_for

STREAM = "/lmscore.v1.LanguageModelService/ScoreStream"


async def _streamed(connection: Connection, *requests: bytes) -> grpc.aio.AioRpcError:
    stream: Any = connection.channel.stream_stream(STREAM)
    call = stream(iter(requests), timeout=20)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        async for _ in call:
            pass
    return error.value


@pytest.mark.parametrize("detail", [wire.SCORE_DETAIL_NONE, wire.SCORE_DETAIL_FULL])
async def test_a_malformed_request_ends_a_stream_that_is_being_answered(
    tiny_arpa: Path, detail: wire.ScoreDetail.ValueType
) -> None:
    score = wire.ScoreRequest(model=ModelSelector(name="tiny"), texts=["a b"], detail=detail)
    request = wire.ScoreStreamRequest(score=score).SerializeToString()
    async with running(settings_for(tiny_arpa)) as connection:
        streams = [_streamed(connection, request, b"\xff", request) for _ in range(20)]
        errors = await asyncio.gather(*streams)

    assert {error.code() for error in errors} == {grpc.StatusCode.INVALID_ARGUMENT}


class _SlowContext:
    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.written: list[object] = []

    async def write(self, message: object) -> None:
        await self.ready.wait()
        self.written.append(message)


async def test_a_write_is_done_before_its_task_is_cancelled() -> None:
    context: Any = _SlowContext()
    message = wire.ScoreStreamResponse(request_id=1)
    task = asyncio.create_task(write_whole(context, message))
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    context.ready.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert context.written == [message.SerializeToString()]
