"""What the server knows of the call it works for."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from lmscore.server.call import Call, Priority, calling, current_call, priority_of
from lmscore.server.errors import InvalidFieldError
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.harness import Connection, failure_of


async def test_tasks_know_the_call_that_they_work_for() -> None:
    async def caller() -> str:
        await asyncio.sleep(0)
        return current_call().caller

    async def known_to(name: str) -> str:
        with calling(Call("Score", name)):
            return await asyncio.create_task(caller())

    names = ["a", "b"]
    assert list(await asyncio.gather(*map(known_to, names))) == names
    assert current_call().caller == ""


@pytest.mark.parametrize(
    ("metadata", "method", "priority"),
    [
        ({}, "Score", Priority.INTERACTIVE),
        ({}, "ScoreStream", Priority.BULK),
        ({"lmscore-priority": "interactive"}, "ScoreStream", Priority.INTERACTIVE),
        ({"lmscore-priority": "bulk"}, "Rescore", Priority.BULK),
    ],
)
def test_a_stream_of_scores_is_bulk_work_unless_its_caller_says_otherwise(
    metadata: dict[str, str], method: str, priority: Priority
) -> None:
    assert priority_of(metadata, method) is priority


def test_a_priority_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(InvalidFieldError, match="lmscore-priority: 'urgent' is not interactive or"):
        priority_of({"lmscore-priority": "urgent"}, "Score")


async def test_a_caller_is_told_that_there_is_no_such_priority(connection: Connection) -> None:
    request = wire.ScoreRequest(model=ModelSelector(name="tiny"), texts=["a"])
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await connection.stub.Score(request, metadata=(("lmscore-priority", "urgent"),))

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.fields == ["metadata lmscore-priority"]
