from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from grpc import StatusCode

from lmscore.client import (
    Beam,
    ChannelSettings,
    Client,
    DeadlineExceededError,
    GeneratedToken,
    GenerationFinished,
    GenerationStarted,
    Greedy,
    InvalidArgumentError,
    LikelyToken,
    LmscoreError,
    ModelNotFoundError,
    Sampling,
    ServerError,
    UnavailableError,
)
from lmscore.v1 import language_model_service_pb2 as wire
from tests.client.fake_server import FINGERPRINT, Failure, FakeServer, word_id
from tests.client.patience import patiently

A_TOKEN = wire.GeneratedToken(sequence=0, text="a")
SETTINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"model": "fake", "version": 1}, {"model": {"name": "fake", "version": "1"}}),
    ({"strategy": Greedy()}, {"greedy": {}}),
    (
        {"strategy": Sampling()},
        {"sampling": {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}},
    ),
    (
        {"strategy": Sampling(temperature=0.5, top_k=3, top_p=0.25, min_p=0.125)},
        {"sampling": {"temperature": 0.5, "top_k": 3, "top_p": 0.25, "min_p": 0.125}},
    ),
    (
        {"strategy": Beam(4, length_penalty=0.5, num_results=2)},
        {"beam": {"width": 4, "length_penalty": 0.5, "num_results": 2}},
    ),
    ({"num_sequences": 3}, {"num_sequences": 3, "sampling": {}}),
    ({"max_tokens": 9, "min_tokens": 2}, {"max_tokens": 9, "min_tokens": 2}),
    ({"stop": ["\n", "é"]}, {"stop_strings": ["\n", "é"]}),
    ({"stop_token_ids": [0, 2**32 - 1]}, {"stop_token_ids": [0, 2**32 - 1]}),
    ({"banned_token_ids": [3]}, {"banned_token_ids": [3]}),
    ({"allow_unknown": True}, {"allow_unknown": True}),
    ({"seed": 2**64 - 1}, {"seed": str(2**64 - 1), "sampling": {}}),
    ({"seed": 0}, {"seed": "0", "sampling": {}}),
    ({"seed": None}, {}),
    ({"repetition_penalty": 1.5}, {"repetition_penalty": 1.5}),
    ({"alternatives": 5}, {"alternatives": 5}),
    ({"bos": False}, {"bos": False}),
]


def test_events_are_typed_and_in_order(server: FakeServer, client: Client) -> None:
    started, *tokens, finished = client.generate("the 1st", max_tokens=2, seed=7)

    assert isinstance(started, GenerationStarted)
    assert (started.model.name, started.model.fingerprint) == ("fake", FINGERPRINT)
    assert (started.seed, started.prompt_token_count, started.prompt_oov_count) == (7, 2, 1)
    assert tokens == [
        GeneratedToken(0, " a", "a", word_id("a"), -0.5),
        GeneratedToken(0, "", "aa", word_id("aa"), -1.0),
    ]
    assert finished == GenerationFinished(0, " aa", "length", -1.5, 2)
    assert server.behaviour.end_of_stream() == "well"


@pytest.mark.parametrize("per_message", [1, 2, 4, 100])
def test_it_does_not_matter_how_many_tokens_a_message_has(
    server: FakeServer, client: Client, per_message: int
) -> None:
    server.behaviour.tokens_per_message = per_message
    events = list(client.generate("", num_sequences=2, max_tokens=4))

    ends = [event for event in events if isinstance(event, GenerationFinished)]
    tokens = [event for event in events if isinstance(event, GeneratedToken)]
    assert [(each.sequence, len(each.token)) for each in tokens] == [
        (sequence, step) for step in (1, 2, 3, 4) for sequence in (0, 1)
    ]
    assert [end.sequence for end in ends] == [0, 1]
    assert len(events) == 1 + len(tokens) + len(ends)


def test_whole_texts_are_what_the_events_tell(client: Client) -> None:
    answer = client.generate_texts("x", num_sequences=3, max_tokens=2, seed=5)

    assert [text.text for text in answer] == [" a aa", " b bb", " c cc"]
    assert answer[1].token_ids == (word_id("b"), word_id("bb"))
    assert answer[1].log_probs == (-0.5, -1.0)
    assert (answer[1].log_prob, answer[1].reason, answer[1].seed) == (-1.5, "length", 5)
    assert answer[1].score is None
    assert answer.model.fingerprint == FINGERPRINT


def test_a_seed_is_for_texts_that_are_drawn_unless_a_strategy_is_named(
    server: FakeServer, client: Client
) -> None:
    client.generate_texts("x", seed=5)
    client.generate_texts("x", num_sequences=2)
    client.generate_texts("x", seed=5, strategy=Greedy())

    drawn = [request.WhichOneof("strategy") for request in server.behaviour.generate_requests]
    assert drawn == ["sampling", "sampling", "greedy"]


def test_beams_have_their_score(client: Client) -> None:
    answer = client.generate_texts("", strategy=Beam(4, length_penalty=2, num_results=2))

    assert [text.score for text in answer] == [-3 / 9, -3 / 9]


def test_alternatives_are_the_likeliest_in_their_place(client: Client) -> None:
    events = list(client.generate("", max_tokens=1, alternatives=2))

    assert isinstance(events[1], GeneratedToken)
    assert events[1].alternatives == (
        LikelyToken("x", word_id("x"), -0.5),
        LikelyToken("xx", word_id("xx"), -1.0),
    )


@pytest.mark.parametrize(("settings", "expected"), SETTINGS)
def test_every_setting_reaches_the_server(
    server: FakeServer, client: Client, settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    list(client.generate("the é", **settings))

    (request,) = server.behaviour.generate_requests
    default = {"model": {"name": "fake"}, "prompt": "the é"}
    assert MessageToDict(request, preserving_proto_field_name=True) == default | expected


def test_every_field_of_the_contract_can_be_set() -> None:
    covered = {"prompt"}.union(*(expected for _, expected in SETTINGS))

    assert {field.name for field in wire.GenerateRequest.DESCRIPTOR.fields} == covered


# --- its end ---


def test_closing_cancels_the_call(server: FakeServer, client: Client) -> None:
    server.behaviour.generate_messages = 2
    events = client.generate("")
    next(events)
    events.close()

    assert server.behaviour.end_of_stream() == "cancelled"


def test_leaving_a_loop_cancels_the_call(server: FakeServer, client: Client) -> None:
    server.behaviour.generate_messages = 3
    with closing(client.generate("")) as events:
        for event in events:
            if isinstance(event, GeneratedToken):
                break

    assert server.behaviour.end_of_stream() == "cancelled"


def test_closing_the_client_ends_the_stream(server: FakeServer) -> None:
    server.behaviour.generate_messages = 1
    client = Client(server.address, model="fake")
    events = client.generate("")
    next(events)
    client.close()

    with pytest.raises(LmscoreError):
        next(events)
    assert server.behaviour.end_of_stream() == "cancelled"


def test_the_timeout_bounds_the_whole_generation(server: FakeServer, client: Client) -> None:
    server.behaviour.generate_messages = 2

    def read(seconds: float) -> None:
        began = time.monotonic()
        events = client.generate("", timeout=seconds)
        assert isinstance(next(events), GenerationStarted)
        assert isinstance(next(events), GeneratedToken)
        with pytest.raises(DeadlineExceededError):
            next(events)
        assert time.monotonic() - began >= 0.9 * seconds

    patiently(read)
    assert server.behaviour.end_of_stream() == "cancelled"


@pytest.mark.parametrize("seconds", [1e10, math.inf])
def test_a_timeout_may_be_longer_than_clocks_count(client: Client, seconds: float) -> None:
    assert len(list(client.generate("", max_tokens=1, timeout=seconds))) == 3


def test_an_error_before_the_stream_names_its_field(server: FakeServer, client: Client) -> None:
    violation = BadRequest.FieldViolation(field="sampling.top_p", description="it is 2")
    details: list[Message] = [BadRequest(field_violations=[violation])]
    server.behaviour.failures.append(
        Failure(StatusCode.INVALID_ARGUMENT, "sampling.top_p: it is 2", details)
    )
    with pytest.raises(InvalidArgumentError, match="it is 2") as raised:
        next(client.generate("", strategy=Sampling(top_p=2)))

    assert raised.value.field == "sampling.top_p"


def test_a_model_that_is_not_there_is_told(client: Client) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        client.generate_texts("", model="nowhere")


def test_unavailable_is_tried_again_before_the_first_event(
    server: FakeServer, client: Client
) -> None:
    server.behaviour.failures.extend([Failure(StatusCode.UNAVAILABLE)] * 2)

    assert [text.text for text in client.generate_texts("")] == [" a aa aaa"]
    assert server.behaviour.calls["Generate"] == 3


def test_nothing_is_tried_again_after_the_first_event(server: FakeServer, client: Client) -> None:
    server.behaviour.generate_messages = 2
    server.behaviour.generate_end = Failure(StatusCode.UNAVAILABLE, "draining")
    events = client.generate("")

    assert isinstance(next(events), GenerationStarted)
    assert isinstance(next(events), GeneratedToken)
    with pytest.raises(UnavailableError, match=f"{server.address}: draining"):
        next(events)
    assert server.behaviour.calls["Generate"] == 1


def test_retries_can_be_switched_off(server: FakeServer) -> None:
    server.behaviour.failures.append(Failure(StatusCode.UNAVAILABLE))
    settings = ChannelSettings(max_attempts=1)

    with (
        Client(server.address, model="fake", channel=settings) as client,
        pytest.raises(UnavailableError),
    ):
        next(client.generate(""))


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [wire.GenerateResponse(started=wire.GenerationStarted(seed=1), tokens=[A_TOKEN])],
    ],
)
def test_a_stream_that_ends_early_is_an_error(
    client: Client, messages: list[wire.GenerateResponse], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.client.fake_server.generate", lambda *_: iter(messages))

    with pytest.raises(ServerError, match="ended the stream early"):
        list(client.generate(""))
    with pytest.raises(ServerError, match="ended the stream early"):
        client.generate_texts("")


def test_a_reason_newer_than_the_client_is_unspecified(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = wire.GenerationFinished(reason=99)  # type: ignore[arg-type]
    message = wire.GenerateResponse(started=wire.GenerationStarted(seed=1), finished=[end])
    monkeypatch.setattr("tests.client.fake_server.generate", lambda *_: iter([message]))

    assert [text.reason for text in client.generate_texts("")] == ["unspecified"]


# --- what no message can hold ---

COUNTS = ["num_sequences", "max_tokens", "min_tokens", "alternatives"]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"prompt": "\ud800"}, "prompt"),
        ({"model": "\ud800"}, "model.name"),
        *(({name: -1}, name) for name in COUNTS),
        *(({name: 2**32}, name) for name in COUNTS),
        ({"stop": ["a", "\ud800"]}, "stop_strings[1]"),
        ({"stop_token_ids": [0, -1]}, "stop_token_ids[1]"),
        ({"banned_token_ids": [2**32]}, "banned_token_ids[0]"),
        ({"seed": 2**64}, "seed"),
        ({"strategy": Sampling(top_k=-1)}, "sampling.top_k"),
        ({"strategy": Beam(-1)}, "beam.width"),
        ({"strategy": Beam(1, num_results=2**32)}, "beam.num_results"),
    ],
)
def test_what_no_message_can_hold_names_its_field(
    client: Client, settings: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        client.generate_texts(**{"prompt": "", **settings})
    assert raised.value.field == field
    assert str(raised.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda client: client.generate_texts("", stop="\n"), "stop_strings is one string"),
        (lambda client: client.generate_texts("", strategy="greedy"), "'greedy' is none of"),
        (lambda client: client.generate_texts("", temperature=1), "no setting 'temperature'"),
        (lambda client: client.generate_texts(["the"]), "prompt is of type list; give a string"),
        (lambda client: client.generate_texts("", stop=[7]), r"stop_strings\[0\] is of type int"),
        (lambda client: client.score(["a", None]), r"texts\[1\] is of type NoneType"),
    ],
)
def test_arguments_of_a_wrong_kind_are_refused(
    client: Client, call: Callable[[Any], object], problem: str
) -> None:
    with pytest.raises(TypeError, match=problem):
        call(client)
