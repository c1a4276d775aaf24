from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from grpc import StatusCode

from lmscore.client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    Hypothesis,
    InvalidArgumentError,
    LmscoreError,
    ModelNotFoundError,
    NBestList,
    RescoreWeights,
    ServerError,
    UnavailableError,
)
from tests.client.fake_server import Failure, FakeServer
from tests.client.patience import patiently_awaited

LISTS = [
    NBestList(str(i), [Hypothesis("a" * n, {"score": 0.0}) for n in range(1, 4)]) for i in range(20)
]


async def test_both_clients_give_the_same(client: Client, async_client: AsyncClient) -> None:
    texts = ["ab 12", "refused", "impossible", ""]

    assert await async_client.score(texts, tokens=True) == client.score(texts, tokens=True)
    assert await async_client.score_tokens([[1, 2]]) == client.score_tokens([[1, 2]])
    assert await async_client.rescore(LISTS) == client.rescore(LISTS)
    assert await async_client.tokenize(texts) == client.tokenize(texts)
    assert await async_client.list_models() == client.list_models()
    assert await async_client.get_model(version=1) == client.get_model(version=1)


async def test_errors_are_the_same(server: FakeServer, async_client: AsyncClient) -> None:
    server.behaviour.failures.append(Failure(StatusCode.INVALID_ARGUMENT, "no good"))

    with pytest.raises(InvalidArgumentError, match="no good"):
        await async_client.score(["a"])


async def test_a_closed_client_says_so(server: FakeServer) -> None:
    client = AsyncClient(server.address)
    await client.close()

    with pytest.raises(LmscoreError, match="the client is closed"):
        await client.score(["a"])
    with pytest.raises(LmscoreError, match="the client is closed"):
        async for _ in client.score_stream(["a"]):
            pass
    with pytest.raises(LmscoreError, match="the client is closed"):
        async for _ in client.rescore_stream(LISTS):
            pass


async def test_closing_the_client_does_not_cancel_the_tasks_that_wait(server: FakeServer) -> None:
    server.behaviour.silent = True
    client = AsyncClient(server.address)
    waiting = asyncio.create_task(client.score(["a"]))
    await asyncio.to_thread(server.behaviour.wait_for_call, "Score")
    await client.close()

    with pytest.raises(LmscoreError, match="the client is closed"):
        await waiting


async def test_unavailable_is_tried_again(server: FakeServer, async_client: AsyncClient) -> None:
    server.behaviour.failures.extend([Failure(StatusCode.UNAVAILABLE)] * 2)

    assert len(await async_client.score(["a"])) == 1
    assert server.behaviour.calls["Score"] == 3


async def test_a_slow_answer_exceeds_the_deadline(
    server: FakeServer, async_client: AsyncClient
) -> None:
    server.behaviour.silent = True

    with pytest.raises(DeadlineExceededError):
        await async_client.score(["a"], timeout=0.1)


async def test_nobody_there_is_unavailable() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
            await client.list_models()


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_stream_keeps_the_order_when_answers_overtake(
    server: FakeServer, async_client: AsyncClient, asynchronous: bool
) -> None:
    server.behaviour.shuffle = list.reverse
    server.behaviour.shuffle_window = 4
    texts = ["a" * i for i in range(1, 24)]

    async def later() -> AsyncIterator[str]:
        for text in texts:
            await asyncio.sleep(0)
            yield text

    stream = async_client.score_stream(later() if asynchronous else texts, batch_texts=2)
    answers = [answer async for answer in stream]

    assert [score.log_prob for answer in answers for score in answer] == [
        -i / 2 - 1 for i in range(1, 24)
    ]
    assert await asyncio.to_thread(server.behaviour.end_of_stream) == "well"


async def test_a_stream_reads_ahead_no_more_than_it_may(async_client: AsyncClient) -> None:
    read = 0

    async def texts() -> AsyncIterator[str]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield "ab"

    most_ahead = given = 0
    async for answer in async_client.score_stream(texts(), batch_texts=5, max_in_flight=3):
        most_ahead = max(most_ahead, read - given)
        given += len(answer)
    assert given == 100
    assert most_ahead <= 3 * 5 + 1  # the text that a batch no longer had a place for


async def test_a_request_of_a_stream_without_an_answer_is_raised(
    async_client: AsyncClient,
) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        async for _ in async_client.score_stream(["a"], model="nowhere"):
            pass


async def test_a_stream_that_gets_no_answer_is_given_up(
    server: FakeServer, async_client: AsyncClient
) -> None:
    server.behaviour.stream_pause.clear()

    with pytest.raises(DeadlineExceededError, match=r"0\.2 s"):
        async for _ in async_client.score_stream(["a"], timeout=0.2):
            pass


async def test_a_timeout_may_be_longer_than_clocks_count(async_client: AsyncClient) -> None:
    assert len(await async_client.score(["a"], timeout=1e300)) == 1
    assert len([answer async for answer in async_client.score_stream(["a"], timeout=1e300)]) == 1


async def test_a_stream_that_breaks_is_raised(
    server: FakeServer, async_client: AsyncClient
) -> None:
    # More than once: where gRPC loses the reason, the client calls again to be told.
    server.behaviour.failures.extend([Failure(StatusCode.INTERNAL, "broken")] * 20)

    with pytest.raises(ServerError, match="broken"):
        async for _ in async_client.score_stream(["a"]):
            pass


async def test_an_abandoned_stream_is_cancelled(
    server: FakeServer, async_client: AsyncClient
) -> None:
    server.behaviour.stream_outlasts_requests = True
    stream = async_client.score_stream(["a"] * 50_000, batch_texts=1, max_in_flight=2)
    async with aclosing(cast(Any, stream)) as answers:  # a generator to us
        await anext(answers)

    end = await asyncio.to_thread(server.behaviour.end_of_stream)
    assert end == "cancelled"


async def test_a_timeout_of_the_callers_texts_is_the_callers(async_client: AsyncClient) -> None:
    async def texts() -> AsyncIterator[str]:
        yield "a"
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        async for _ in async_client.score_stream(texts()):
            pass


async def test_rescore_stream_keeps_order_and_bounds_what_runs(
    server: FakeServer, async_client: AsyncClient
) -> None:
    server.behaviour.delay_seconds = 0.01
    server.behaviour.together = 2
    weights = [RescoreWeights(), RescoreWeights(lm_weight=-1)]

    stream = async_client.rescore_stream(LISTS, weights, batch_hypotheses=6, max_in_flight=3)
    ranked = [nbest async for answer in stream for nbest in answer]

    assert [nbest.id for nbest in ranked] == [nbest.id for nbest in LISTS]
    assert [ranking.best for ranking in ranked[0].rankings] == [0, 2]
    assert 1 < server.behaviour.most_running <= 3


async def test_a_list_too_large_for_a_request_fails_alone(
    server: FakeServer, async_client: AsyncClient
) -> None:
    violation = BadRequest.FieldViolation(field="lists: hypotheses", description="too many")
    details: list[Message] = [BadRequest(field_violations=[violation])]
    server.behaviour.failures.append(Failure(StatusCode.INVALID_ARGUMENT, details=details))
    stream = async_client.rescore_stream(LISTS, batch_hypotheses=1, max_in_flight=1)

    assert [len(answer.errors) async for answer in stream] == [1] + [0] * 19


async def test_rescore_stream_raises_what_a_request_ends_with(async_client: AsyncClient) -> None:
    with pytest.raises(ModelNotFoundError):
        async for _ in async_client.rescore_stream(LISTS, model="nowhere"):
            pass


async def test_waiting_ends_when_the_model_is_ready(
    server: FakeServer, async_client: AsyncClient
) -> None:
    server.behaviour.loading.add("fake")
    asyncio.get_running_loop().call_later(0.2, server.behaviour.loading.clear)

    await async_client.wait_until_ready()
    assert not server.behaviour.loading


async def test_waiting_in_vain_says_what_is_missing(async_client: AsyncClient) -> None:
    async def wait(seconds: float) -> None:
        with pytest.raises(DeadlineExceededError, match="it has no model other"):
            await async_client.wait_until_ready("other", timeout=seconds)

    await patiently_awaited(wait)


async def test_waiting_for_nobody_says_so() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(DeadlineExceededError, match=r"not ready within 0\.3 s"):
            await client.wait_until_ready(timeout=0.3)
