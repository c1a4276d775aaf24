"""Answers that are being written when their call fails."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from lmscore.server.writing import StreamWriter, write_whole
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.harness import Connection, running, settings_for

STREAM = "/lmscore.v1.LanguageModelService/ScoreStream"


async def _streamed(connection: Connection, *requests: bytes) -> grpc.aio.AioRpcError:
    stream: Any = connection.channel.stream_stream(STREAM)
    call = stream(iter(requests), timeout=100)
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


async def test_answers_of_a_stream_are_written_in_the_order_in_which_they_came() -> None:
    context: Any = _SlowContext()
    context.ready.set()
    writer, left = StreamWriter(context), 0

    def leave() -> None:
        nonlocal left
        left += 1

    task = asyncio.create_task(writer.run())
    for answer in (b"1", b"2"):
        writer.put(answer, leave)
    await asyncio.sleep(0.01)
    writer.put(b"3", leave)
    writer.close()
    await task

    assert context.written == [b"1", b"2", b"3"]
    assert left == 3


async def test_a_cancelled_stream_writes_out_the_answer_under_way_and_no_other() -> None:
    context: Any = _SlowContext()
    writer = StreamWriter(context)
    for answer in (b"1", b"2"):
        writer.put(answer, lambda: None)
    task = asyncio.create_task(writer.run())
    await asyncio.sleep(0.01)

    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    context.ready.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert context.written == [b"1"]
