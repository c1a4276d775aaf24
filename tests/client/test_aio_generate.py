from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from grpc import StatusCode

from lmscore.client import (
    AsyncClient,
    Beam,
    Client,
    DeadlineExceededError,
    GeneratedToken,
    GenerationEvent,
    GenerationStarted,
    InvalidArgumentError,
    LmscoreError,
    ModelNotFoundError,
    ServerError,
    UnavailableError,
)
from lmscore.v1 import language_model_service_pb2 as wire
from tests.client.fake_server import Failure, FakeServer
from tests.client.patience import patiently_awaited


async def end_of_stream(server: FakeServer) -> str:
    return await asyncio.to_thread(server.behaviour.end_of_stream)


@pytest.mark.parametrize("per_message", [1, 3])
async def test_both_clients_give_the_same(
    server: FakeServer, client: Client, async_client: AsyncClient, per_message: int
) -> None:
    server.behaviour.tokens_per_message = per_message
    events = [event async for event in async_client.generate("the", num_sequences=2, seed=1)]
    texts = await async_client.generate_texts("the", strategy=Beam(3, num_results=2))

    assert events == list(client.generate("the", num_sequences=2, seed=1))
    assert len(events) == 1 + 2 * (3 + 1)
    assert texts == client.generate_texts("the", strategy=Beam(3, num_results=2))
    first, second, *_ = server.behaviour.generate_requests
    assert server.behaviour.generate_requests == [first, second, first, second]


async def test_closing_cancels_the_call(server: FakeServer, async_client: AsyncClient) -> None:
    server.behaviour.generate_messages = 2
    async with aclosing(async_client.generate("")) as events:
        async for event in events:
            if isinstance(event, GeneratedToken):
                break

    assert await end_of_stream(server) == "cancelled"


async def test_cancelling_the_task_cancels_the_call(
    server: FakeServer, async_client: AsyncClient
) -> None:
    server.behaviour.generate_messages = 2
    seen: list[GenerationEvent] = []
    second = asyncio.Event()

    async def read() -> None:
        async for event in async_client.generate(""):
            seen.append(event)
            if len(seen) == 2:
                second.set()

    task = asyncio.create_task(read())
    await second.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await end_of_stream(server) == "cancelled"


async def test_cancelling_the_wait_for_whole_texts_cancels_the_call(
    server: FakeServer, async_client: AsyncClient
) -> None:
    server.behaviour.generate_messages = 2
    waiting = asyncio.create_task(async_client.generate_texts(""))
    await asyncio.to_thread(server.behaviour.wait_for_call, "Generate")
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await end_of_stream(server) == "cancelled"


async def test_the_timeout_bounds_the_whole_generation(
    server: FakeServer, async_client: AsyncClient
) -> None:
    server.behaviour.generate_messages = 2

    async def read(seconds: float) -> None:
        events = async_client.generate("", timeout=seconds)
        assert isinstance(await anext(events), GenerationStarted)
        assert isinstance(await anext(events), GeneratedToken)
        with pytest.raises(DeadlineExceededError):
            await anext(events)

    await patiently_awaited(read)
    assert await end_of_stream(server) == "cancelled"


async def test_closing_the_client_does_not_cancel_the_task_that_reads(server: FakeServer) -> None:
    server.behaviour.generate_messages = 1
    client = AsyncClient(server.address, model="fake")
    events = client.generate("")
    await anext(events)
    reading = asyncio.create_task(anext(events))
    await asyncio.sleep(0.1)
    await client.close()

    with pytest.raises(LmscoreError, match="the client is closed"):
        await reading


async def test_a_cancelled_task_stays_cancelled_though_the_client_is_closed(
    server: FakeServer,
) -> None:
    server.behaviour.generate_messages = 1
    client = AsyncClient(server.address, model="fake")
    events = client.generate("")
    await anext(events)
    reading = asyncio.create_task(anext(events))
    await asyncio.sleep(0.1)
    reading.cancel()
    await client.close()

    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_closing_the_client_ends_the_stream(server: FakeServer) -> None:
    server.behaviour.generate_messages = 1
    client = AsyncClient(server.address, model="fake")
    events = client.generate("")
    await anext(events)
    await client.close()

    with pytest.raises(LmscoreError, match="the client is closed"):
        await anext(events)
    with pytest.raises(LmscoreError, match="the client is closed"):
        await client.generate_texts("")


async def test_unavailable_is_tried_again_before_the_first_event(
    server: FakeServer, async_client: AsyncClient
) -> None:
    server.behaviour.failures.extend([Failure(StatusCode.UNAVAILABLE)] * 2)

    assert [text.text for text in await async_client.generate_texts("")] == [" a aa aaa"]
    assert server.behaviour.calls["Generate"] == 3


async def test_nothing_is_tried_again_after_the_first_event(
    server: FakeServer, async_client: AsyncClient
) -> None:
    server.behaviour.generate_messages = 1
    server.behaviour.generate_end = Failure(StatusCode.UNAVAILABLE, "draining")
    events = async_client.generate("")

    assert isinstance(await anext(events), GenerationStarted)
    with pytest.raises(UnavailableError, match=f"{server.address}: draining"):
        await anext(events)
    assert server.behaviour.calls["Generate"] == 1


async def test_a_stream_that_ends_early_is_an_error(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = wire.GenerateResponse(
        started=wire.GenerationStarted(seed=1), tokens=[wire.GeneratedToken(sequence=0)]
    )
    monkeypatch.setattr("tests.client.fake_server.generate", lambda *_: iter([cut]))

    with pytest.raises(ServerError, match="ended the stream early"):
        await async_client.generate_texts("")


async def test_errors_are_the_same(async_client: AsyncClient) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        await async_client.generate_texts("", model="nowhere")
    with pytest.raises(InvalidArgumentError) as raised:
        await async_client.generate_texts("", seed=-1)
    assert raised.value.field == "seed"
