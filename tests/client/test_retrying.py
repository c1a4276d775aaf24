"""Calls that find the server busy are made again: when, how often, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from lmscore.client import (
    AsyncClient,
    ChannelSettings,
    Client,
    DeadlineExceededError,
    Hypothesis,
    LmscoreError,
    NBestList,
    OverloadedError,
    QuotaExceededError,
)
from lmscore.client import stream as stream_module
from lmscore.client.retrying import Attempts, RetryBudget
from tests.client.fake_server import Failure, FakeServer


def busy(seconds: float | None = 0.001, reason: str = "QUEUE_FULL") -> Failure:
    details: list[Any] = [ErrorInfo(reason=reason, domain="lmscore")]
    if seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(round(seconds * 1e9))
        details.append(RetryInfo(retry_delay=delay))
    return Failure(StatusCode.RESOURCE_EXHAUSTED, details=details)


def refusal(seconds: float | None) -> LmscoreError:
    code = StatusCode.RESOURCE_EXHAUSTED
    return LmscoreError("busy", code=code, retry_after_seconds=seconds)


# --- when ---


@given(delay=st.floats(0, 100), timeout=st.floats(0.1, 200), refusals=st.integers(1, 20))
def test_a_pause_is_never_shorter_than_told_and_leaves_time_for_the_answer(
    delay: float, timeout: float, refusals: int
) -> None:
    attempts = Attempts(timeout, None, None, clock=lambda: 0.0)
    for _ in range(refusals):
        pause = attempts.pause_after(refusal(delay))
        if pause is None:
            assert delay >= timeout
        else:
            assert delay <= pause < timeout


def test_pauses_differ_and_grow() -> None:
    def pauses(refusals: int) -> list[float]:
        found = []
        for _ in range(200):
            attempts = Attempts(1000, None, None)
            found.append([attempts.pause_after(refusal(1.0)) for _ in range(refusals)][-1])
        return [pause for pause in found if pause is not None]

    first, fourth = pauses(1), pauses(4)
    assert len(set(first)) > 100
    assert max(first) <= 1.25
    assert 1.25 < max(fourth) <= 3.0


@pytest.mark.parametrize(
    "error",
    [
        refusal(None),
        LmscoreError("x", code=StatusCode.INTERNAL, retry_after_seconds=0.1),
        LmscoreError("x", code=StatusCode.UNAVAILABLE, retry_after_seconds=0.1),  # gRPC's own
    ],
)
def test_other_errors_are_final(error: LmscoreError) -> None:
    assert Attempts(10, 4, RetryBudget()).pause_after(error) is None


def test_when_most_calls_are_refused_there_are_no_retries_until_some_are_answered() -> None:
    budget = RetryBudget(max_tokens=10, token_ratio=0.5)

    assert [budget.refused() for _ in range(6)] == [True, True, True, True, False, False]
    for _ in range(4):
        budget.answered()
    assert not budget.refused()
    for _ in range(4):
        budget.answered()
    assert budget.refused()


def test_a_quota_is_waited_for_however_often_it_refuses() -> None:
    budget = RetryBudget()
    refused = QuotaExceededError(
        "busy", code=StatusCode.RESOURCE_EXHAUSTED, retry_after_seconds=0.1
    )

    assert all(Attempts(10, 4, budget).pause_after(refused) for _ in range(100))
    assert budget.refused()


# --- which calls ---

CALLS: dict[str, Callable[[Client], object]] = {
    "Score": lambda client: client.score(["ab"]),
    "Rescore": lambda client: client.rescore([NBestList("a", [Hypothesis("ab")])]),
    "Predict": lambda client: client.predict(["a"]),
    "Tokenize": lambda client: client.tokenize(["a"]),
    "ListModels": lambda client: client.list_models(),
    "GetModel": lambda client: client.get_model(),
    "Generate": lambda client: client.generate_texts("a", max_tokens=2),
    "ScoreStream": lambda client: list(client.score_stream(["ab"])),
}


@pytest.mark.parametrize("method", CALLS)
def test_a_busy_server_is_asked_again(server: FakeServer, client: Client, method: str) -> None:
    server.behaviour.failures.extend([busy()] * 3)

    CALLS[method](client)
    assert server.behaviour.calls[method] == 4


ASYNC_CALLS: dict[str, Callable[[AsyncClient], Any]] = {
    "Score": lambda client: client.score(["ab"]),
    "Generate": lambda client: client.generate_texts("a", max_tokens=2),
}


@pytest.mark.parametrize("method", ASYNC_CALLS)
async def test_so_it_is_by_tasks(
    server: FakeServer, async_client: AsyncClient, method: str
) -> None:
    server.behaviour.failures.extend([busy()] * 3)

    await ASYNC_CALLS[method](async_client)
    assert server.behaviour.calls[method] == 4


def test_a_call_is_made_so_often_and_then_raises_what_it_ended_with(server: FakeServer) -> None:
    server.behaviour.failures.extend([busy()] * 9)
    for attempts in (1, 3):
        channel = ChannelSettings(max_attempts=attempts)
        with (
            Client(server.address, model="fake", channel=channel) as client,
            pytest.raises(OverloadedError) as raised,
        ):
            client.score(["ab"])
        assert raised.value.retry_after_seconds == pytest.approx(0.001)
    assert server.behaviour.calls["Score"] == 1 + 3


def test_who_could_not_wait_long_enough_is_told_at_once(server: FakeServer, client: Client) -> None:
    server.behaviour.failures.append(busy(200, "QUOTA_EXCEEDED"))
    began = time.monotonic()
    with pytest.raises(QuotaExceededError) as raised:
        client.score(["ab"], timeout=100)

    assert time.monotonic() - began < 90
    assert raised.value.retry_after_seconds == pytest.approx(200)


def test_a_generation_that_has_begun_is_not_begun_again(server: FakeServer, client: Client) -> None:
    server.behaviour.generate_messages = 2
    server.behaviour.generate_end = busy()
    with pytest.raises(OverloadedError):
        client.generate_texts("a", max_tokens=4)

    assert server.behaviour.calls["Generate"] == 1


# --- streams ---

TEXTS = ["a" * n for n in range(1, 40)]
LISTS = [NBestList(str(n), [Hypothesis("a" * n)]) for n in range(1, 20)]


def test_a_stream_waits_for_room_and_goes_on(server: FakeServer, client: Client) -> None:
    server.behaviour.failures.extend([busy()] * 6)  # more than a single call would bear
    answers = list(client.score_stream(TEXTS, batch_texts=3, max_in_flight=4))

    assert [score.log_prob for answer in answers for score in answer] == [
        -len(text) / 2 - 1 for text in TEXTS
    ]
    assert server.behaviour.calls["ScoreStream"] == 7


async def test_so_does_one_of_tasks(server: FakeServer, async_client: AsyncClient) -> None:
    server.behaviour.failures.extend([busy()] * 6)
    answers = [answer async for answer in async_client.score_stream(TEXTS, batch_texts=3)]

    assert [score.log_prob for answer in answers for score in answer] == [
        -len(text) / 2 - 1 for text in TEXTS
    ]


@pytest.mark.parametrize("max_in_flight", [2, 100])  # before and after the end of the requests
async def test_a_request_within_a_stream_that_found_no_room_is_sent_again(
    server: FakeServer, client: Client, monkeypatch: pytest.MonkeyPatch, max_in_flight: int
) -> None:
    monkeypatch.setattr(stream_module, "DEFAULT_PAUSE_SECONDS", 0.001)
    server.behaviour.busy_answers = 3
    answers = list(client.score_stream(TEXTS, batch_texts=10, max_in_flight=max_in_flight))

    assert [len(answer) for answer in answers] == [10, 10, 10, 9]
    assert server.behaviour.busy_answers == 0


def test_lists_wait_for_room_and_keep_their_order(server: FakeServer, client: Client) -> None:
    server.behaviour.failures.extend([busy()] * 6)
    answers = list(client.rescore_stream(LISTS, batch_hypotheses=2, max_in_flight=4))

    assert [ranked.id for answer in answers for ranked in answer] == [each.id for each in LISTS]


async def test_lists_of_tasks_do_too(server: FakeServer, async_client: AsyncClient) -> None:
    server.behaviour.failures.extend([busy()] * 6)
    answers = [a async for a in async_client.rescore_stream(LISTS, batch_hypotheses=2)]

    assert [ranked.id for answer in answers for ranked in answer] == [each.id for each in LISTS]


def test_a_stream_gives_up_when_its_time_is_over(server: FakeServer, client: Client) -> None:
    server.behaviour.failures.extend([busy(0.05)] * 50)
    for stream in (
        client.score_stream(["ab"], timeout=0.3),
        client.rescore_stream(LISTS[:1], timeout=0.3),
    ):
        began = time.monotonic()
        with pytest.raises((OverloadedError, DeadlineExceededError)):
            list(stream)
        assert 0.1 < time.monotonic() - began < 60
