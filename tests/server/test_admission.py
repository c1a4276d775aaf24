"""How many calls, and how many bytes of them, a server holds: on a real port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from lmscore.server.admission import Admission, Place
from lmscore.server.call import Call
from lmscore.server.errors import TooManyCallsError
from lmscore.server.repository import ServedModel
from lmscore.server.server import Server
from lmscore.v1 import language_model_service_pb2 as wire
from tests.server.harness import Connection, Failure, failure_of, running, settings_for
from tests.server.test_generation import until
from tests.server.test_scheduler import SLOW, HeldModel

KIB = 2**10
OWN = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own


@asynccontextmanager
async def holding(**limits: Any) -> AsyncIterator[tuple[Connection, HeldModel]]:
    """A server with a model that answers only when it is let go."""
    model = HeldModel()
    async with running(settings_for(Path("none"), threads=1, **limits), load=False) as connection:
        connection.server.repository.add(ServedModel("slow", 1, "ab" * 32, model))
        try:
            yield connection, model
        finally:
            model.go.set()


def request(size: int = 1) -> wire.ScoreRequest:
    return wire.ScoreRequest(model=SLOW, texts=["a" * size])


def admission_of(server: Server) -> Admission:
    return server.calls.admission


async def refused(connection: Connection, size: int = 1) -> Failure:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await connection.stub.Score(request(size), timeout=60)
    return failure_of(raised.value)


async def test_calls_beyond_the_limit_are_told_when_to_come_back() -> None:
    async with holding(max_concurrent_calls=3) as (connection, model):
        admission = admission_of(connection.server)
        stream = connection.stub.ScoreStream()
        await stream.write(wire.ScoreStreamRequest(score=request()))
        await until(lambda: admission.calls == 1)  # last, as bulk work, it would be refused
        calls = [connection.stub.Score(request()) for _ in range(2)]
        await until(lambda: admission.calls == 3)
        failed = await refused(connection)
        model.go.set()
        await asyncio.gather(*calls)
        await stream.done_writing()
        await stream.read()
        assert await stream.read() is grpc.aio.EOF
        await until(lambda: admission.calls == 0)
        assert (await connection.stub.Score(request())).scores

    assert failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.reason == "TOO_MANY_CALLS"
    assert failed.retry_after_seconds is not None
    assert "calls" in failed.message


async def test_a_call_that_is_cancelled_frees_its_place_and_its_bytes() -> None:
    async with holding(max_concurrent_calls=1) as (connection, _):
        admission = admission_of(connection.server)
        call = connection.stub.Score(request(5 * KIB))
        await until(lambda: admission.held_bytes > 5 * KIB)
        assert (await refused(connection)).reason == "TOO_MANY_CALLS"
        call.cancel()
        await until(lambda: admission.calls == admission.held_bytes == 0)


async def test_requests_in_progress_are_bounded_in_bytes() -> None:
    async with holding(max_inflight_bytes=100 * KIB) as (connection, model):
        large = connection.stub.Score(request(90 * KIB))
        await until(lambda: admission_of(connection.server).calls == 1)
        failed = await refused(connection, 20 * KIB)
        model.go.set()
        assert (await large).scores
        await until(lambda: admission_of(connection.server).held_bytes == 0)
        assert (await connection.stub.Score(request(200 * KIB))).scores  # it is the only one

    assert failed.reason == "TOO_MANY_CALLS"
    assert "bytes" in failed.message


async def test_streams_wait_for_room_instead_of_being_refused() -> None:
    async with holding(max_inflight_bytes=100 * KIB) as (connection, model):
        admission = admission_of(connection.server)
        streams = [connection.stub.ScoreStream() for _ in range(4)]
        for stream in streams:
            await stream.write(wire.ScoreStreamRequest(score=request(60 * KIB)))
        await until(lambda: admission.calls == 4)
        await asyncio.to_thread(model.started.wait, 30)
        assert 60 * KIB < admission.held_bytes < 100 * KIB  # of one of them
        streams.pop().cancel()
        model.go.set()
        for stream in streams:
            assert (await stream.read()).score.scores
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
        await until(lambda: admission.calls == admission.held_bytes == 0)


async def test_an_idle_stream_holds_nothing_but_its_place() -> None:
    async with holding() as (connection, model):
        model.go.set()
        admission = admission_of(connection.server)
        stream = connection.stub.ScoreStream()
        await stream.write(wire.ScoreStreamRequest(score=request(5 * KIB)))
        assert (await stream.read()).score.scores
        await until(lambda: admission.held_bytes == 0)
        assert admission.calls == 1
        stream.cancel()
        await until(lambda: admission.calls == 0)


async def test_a_connection_has_only_so_many_calls_at_a_time() -> None:
    async with holding(max_concurrent_streams_per_connection=2) as (connection, model):
        admission = admission_of(connection.server)
        calls = [connection.stub.Score(request()) for _ in range(5)]
        await until(lambda: admission.calls == 2)
        async with grpc.aio.insecure_channel(connection.server.address, options=OWN) as other:
            more = Connection(connection.server, other).stub.Score(request())
            await until(lambda: admission.calls == 3)
            model.go.set()
            assert (await more).scores
            answers = await asyncio.gather(*calls, return_exceptions=True)

    # gRPC may refuse one that comes in the moment in which another ends; clients try it again.
    failed = [answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(failed) <= 3
    assert set(failed) <= {grpc.StatusCode.UNAVAILABLE}


# --- without a port ---


def test_one_caller_cannot_take_all_calls() -> None:
    admission = Admission(max_calls=40)
    greedy = Call("Score", "greedy")
    for _ in range(40):
        try:
            admission.enter(greedy, 0)
        except TooManyCallsError:
            break

    assert admission.calls == 30
    admission.enter(Call("Score", "other"), 0)


def test_a_reply_that_is_being_sent_counts() -> None:
    admission = Admission(max_calls=10, max_bytes=100)
    call = Call("Score", "a")
    place = admission.enter(call, 10)
    place.sending(85)
    with pytest.raises(TooManyCallsError):
        admission.enter(Call("Score", "b"), 10)
    place.leave()

    assert admission.held_bytes == 0
    place.let_go(10)  # a stream whose answer was being written when it ended
    assert admission.held_bytes == 0
    admission.enter(Call("Score", "b"), 10)


async def test_streams_read_on_in_the_order_in_which_they_asked_and_those_that_left_pass() -> None:
    admission = Admission(max_bytes=100)
    order: list[str] = []
    first = admission.enter(Call("ScoreStream", "first"), 0)
    await first.read(60)

    async def read(name: str, size: int) -> Place:
        place = admission.enter(Call("ScoreStream", name), 0)
        await place.read(size)
        order.append(name)
        return place

    tasks = []
    for name, size in (("large", 70), ("gone", 30), ("small", 5)):
        tasks.append(asyncio.create_task(read(name, size)))
        await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    assert admission.held_bytes == 60
    admission.enter(Call("Score", "other"), 10).leave()  # streams leave room for other calls
    first.leave()
    await asyncio.gather(tasks[0], tasks[2])

    assert order == ["large", "small"]
    assert admission.held_bytes == 75
