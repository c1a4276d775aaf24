"""Score and ScoreStream over a real connection, against figures worked out by hand."""

from __future__ import annotations

import asyncio
import math
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest

from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.harness import Connection, Failure, failure_of, running, settings_for

TINY = ModelSelector(name="tiny")


async def score(connection: Connection, *texts: str, **fields: object) -> list[wire.TextScore]:
    request = wire.ScoreRequest(model=TINY, texts=texts, **fields)  # type: ignore[arg-type]
    return list((await connection.stub.Score(request)).scores)


async def failure(connection: Connection, request: wire.ScoreRequest) -> Failure:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await connection.stub.Score(request)
    return failure_of(raised.value)


@pytest.mark.parametrize(
    ("text", "probabilities"),
    [
        ("a b", [0.6, 0.5, 0.5]),
        ("", [2 / 3 * 0.2]),
        ("b", [2 / 3 * 0.3, 0.5]),
        ("a a", [0.6, 5 / 7 * 0.4, 5 / 7 * 0.2]),
        ("a c", [0.6, 5 / 7 * 0.1, 0.2]),
        ("  a\tb\n", [0.6, 0.5, 0.5]),
    ],
)
async def test_text_has_the_probability_of_its_words(
    connection: Connection, text: str, probabilities: list[float]
) -> None:
    [scored] = await score(connection, text)

    log_prob = sum(map(math.log, probabilities))
    assert scored.log_prob == pytest.approx(log_prob, abs=1e-5)
    assert scored.token_count == len(probabilities)
    assert scored.perplexity == pytest.approx(math.exp(-log_prob / len(probabilities)), rel=1e-5)


async def test_oov_words_are_counted_and_left_out_of_the_second_perplexity(
    connection: Connection,
) -> None:
    [scored] = await score(connection, "a c")

    known = math.log(0.6) + math.log(0.2)
    assert scored.oov_count == 1
    assert scored.log_prob_excluding_oov == pytest.approx(known, abs=1e-5)
    assert scored.perplexity_excluding_oov == pytest.approx(math.exp(-known / 2), rel=1e-5)


async def test_tokens_tell_text_place_probability_order_and_oov(connection: Connection) -> None:
    [scored] = await score(connection, "a ü b", detail=wire.SCORE_DETAIL_TOKENS)

    tokens = scored.tokens
    assert list(tokens.tokens) == ["a", "ü", "b", "</s>"]
    assert list(tokens.begin_bytes) == [0, 2, 5, 6]
    assert list(tokens.end_bytes) == [1, 4, 6, 6]
    assert list(tokens.oov) == [False, True, False, False]
    assert list(tokens.matched_orders) == [2, 1, 1, 2]
    expected = [math.log(p) for p in (0.6, 5 / 7 * 0.1, 0.3, 0.5)]
    assert list(tokens.log_probs) == pytest.approx(expected, abs=1e-5)
    assert math.fsum(tokens.log_probs) == pytest.approx(scored.log_prob)


async def test_without_bos_and_eos_only_the_words_count(connection: Connection) -> None:
    [scored] = await score(connection, "a b", bos=False, eos=False)

    assert scored.log_prob == pytest.approx(math.log(0.4 * 0.5), abs=1e-5)
    assert scored.token_count == 2


async def test_no_events_is_perplexity_one(connection: Connection) -> None:
    [scored] = await score(connection, "", eos=False)

    assert (scored.token_count, scored.log_prob, scored.perplexity) == (0, 0.0, 1.0)


async def test_context_conditions_and_is_not_scored(connection: Connection) -> None:
    [after_a] = await score(connection, "b", context="b a")
    [plain] = await score(connection, "b")

    assert after_a.log_prob == pytest.approx(math.log(0.5 * 0.5), abs=1e-5)
    assert after_a.token_count == plain.token_count == 2
    assert after_a.log_prob != plain.log_prob


async def test_token_sequences_score_as_their_texts(connection: Connection) -> None:
    request = wire.TokenizeRequest(model=TINY, texts=["a b", "a c a"])
    tokenized = (await connection.stub.Tokenize(request)).texts
    sequences = [wire.TokenSequence(ids=text.token_ids) for text in tokenized]
    by_ids = await connection.stub.Score(
        wire.ScoreRequest(model=TINY, token_sequences=sequences, detail=wire.SCORE_DETAIL_TOKENS)
    )

    by_text = await score(connection, "a b", "a c a")
    assert [s.log_prob for s in by_ids.scores] == [s.log_prob for s in by_text]
    assert list(by_ids.scores[1].tokens.tokens) == ["a", "<unk>", "a", "</s>"]
    assert [s.oov_count for s in by_ids.scores] == [0, 1]


async def test_a_text_over_the_limit_has_its_own_error(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa, max_text_bytes=5)) as connection:
        scores = await score(connection, "a b", "a b a b", "b", "üüü")
        plain = await score(connection, "a b", "b")

    assert [s.HasField("error") for s in scores] == [False, True, False, True]
    assert scores[1].error.field == "texts[1]"
    assert scores[1].error.reason == "TEXT_TOO_LONG"
    assert scores[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [scores[0], scores[2]] == plain


async def test_a_bad_token_id_has_its_own_error(connection: Connection) -> None:
    request = wire.ScoreRequest(
        model=TINY,
        token_sequences=[wire.TokenSequence(ids=ids) for ids in ([0], [0, 99], [])],
    )
    scores = (await connection.stub.Score(request)).scores

    assert [s.HasField("error") for s in scores] == [False, True, False]
    assert scores[1].error.field == "token_sequences[1].ids[1]"


async def test_bos_as_an_event_is_refused(connection: Connection) -> None:
    bos = connection.server.repository.find("tiny", None).model.vocabulary.bos_id
    request = wire.ScoreRequest(model=TINY, token_sequences=[wire.TokenSequence(ids=[bos])])
    [scored] = (await connection.stub.Score(request)).scores

    assert scored.error.field == "token_sequences[0].ids[0]"


async def test_response_names_model_version_and_fingerprint(
    connection: Connection, tiny_arpa: Path
) -> None:
    fingerprint = await asyncio.to_thread(lambda: sha256(tiny_arpa.read_bytes()).hexdigest())
    response = await connection.stub.Score(wire.ScoreRequest(model=TINY, texts=["a"]))

    assert response.model.name == "tiny"
    assert response.model.version == 1
    assert response.model.fingerprint == fingerprint


@pytest.mark.parametrize(
    ("request_", "code", "reason", "fields"),
    [
        (wire.ScoreRequest(texts=["a"]), "INVALID_ARGUMENT", "INVALID_FIELD", ["model.name"]),
        (wire.ScoreRequest(model=TINY), "INVALID_ARGUMENT", "INVALID_FIELD", ["texts"]),
        (
            wire.ScoreRequest(model=TINY, texts=["a"], token_sequences=[wire.TokenSequence()]),
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
            ["token_sequences"],
        ),
        (
            wire.ScoreRequest(model=TINY, texts=["a"], detail=77),  # type: ignore[arg-type]
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
            ["detail"],
        ),
        (
            wire.ScoreRequest(model=ModelSelector(name="x"), texts=["a"]),
            "NOT_FOUND",
            "MODEL_NOT_FOUND",
            [],
        ),
        (
            wire.ScoreRequest(model=ModelSelector(name="tiny", version=7), texts=["a"]),
            "NOT_FOUND",
            "MODEL_NOT_FOUND",
            [],
        ),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(
    connection: Connection, request_: wire.ScoreRequest, code: str, reason: str, fields: list[str]
) -> None:
    failed = await failure(connection, request_)

    assert failed.code.name == code
    assert failed.reason == reason
    assert failed.fields == fields
    assert await score(connection, "a b")  # the server is unharmed


async def test_too_many_texts_are_refused(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa, max_texts=2)) as connection:
        failed = await failure(connection, wire.ScoreRequest(model=TINY, texts=["a"] * 3))

    assert failed.fields == ["texts"]


@pytest.mark.parametrize(
    ("data", "reason", "fields"),
    [
        (b"\x0a\x06\x0a\x04tiny\x12\x01a\x12\x03\xc3\x28b", "INVALID_UTF8", ["texts[1]"]),
        (b"\x0a\x03\x0a\x01\xff\x12\x01a", "INVALID_UTF8", ["model.name"]),
        (b"\xff\xff\xff\xff", "MALFORMED_MESSAGE", []),
    ],
)
async def test_bytes_that_are_no_request_are_invalid_arguments(
    connection: Connection, data: bytes, reason: str, fields: list[str]
) -> None:
    call: Any = connection.channel.unary_unary("/lmscore.v1.LanguageModelService/Score")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(data)

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.reason == reason
    assert failed.fields == fields


async def test_a_loading_model_says_so(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa), load=False) as connection:
        failed = await failure(connection, wire.ScoreRequest(model=TINY, texts=["a"]))

    assert failed.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failed.reason == "MODEL_LOADING"


async def test_stream_answers_every_request_with_its_id(connection: Connection) -> None:
    texts = {i: " ".join("ab"[(i >> k) & 1] for k in range(i % 9)) for i in range(500)}
    requests = (
        wire.ScoreStreamRequest(request_id=i, score=wire.ScoreRequest(model=TINY, texts=[text]))
        for i, text in texts.items()
    )
    answers = {a.request_id: a async for a in connection.stub.ScoreStream(requests)}

    expected = await score(connection, *texts.values())
    assert {i: a.score.scores[0] for i, a in answers.items()} == dict(enumerate(expected))


async def test_a_bad_request_does_not_end_the_stream(connection: Connection) -> None:
    requests = [
        wire.ScoreStreamRequest(request_id=1, score=wire.ScoreRequest(model=TINY)),
        wire.ScoreStreamRequest(
            request_id=2, score=wire.ScoreRequest(model=ModelSelector(name="x"), texts=["a"])
        ),
        wire.ScoreStreamRequest(request_id=3, score=wire.ScoreRequest(model=TINY, texts=["a"])),
    ]
    answers = {a.request_id: a async for a in connection.stub.ScoreStream(iter(requests))}

    assert answers[1].error.field == "texts"
    assert answers[2].error.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert len(answers[3].score.scores) == 1


async def test_malformed_bytes_end_a_stream_with_invalid_argument(connection: Connection) -> None:
    method: Any = connection.channel.stream_stream("/lmscore.v1.LanguageModelService/ScoreStream")
    call = method(iter([b"\xff\xff\xff"]))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()

    assert failure_of(raised.value).reason == "MALFORMED_MESSAGE"


@pytest.mark.parametrize("method", ["Score", "Tokenize"])
async def test_more_tokens_than_an_answer_can_hold_are_refused_before_the_work(
    tiny_arpa: Path, method: str
) -> None:
    texts = ["a b " * 100]
    requests = {
        "Score": wire.ScoreRequest(model=TINY, texts=texts, detail=wire.SCORE_DETAIL_TOKENS),
        "Tokenize": wire.TokenizeRequest(model=TINY, texts=texts),
    }
    async with running(settings_for(tiny_arpa, max_message_bytes=4096)) as connection:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await getattr(connection.stub, method)(requests[method])
        assert await score(connection, *texts)

    assert failure_of(raised.value).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_long_name_does_not_drown_the_error(connection: Connection) -> None:
    request = wire.ScoreRequest(model=ModelSelector(name="x" * 20_000), texts=["a"])

    assert (await failure(connection, request)).code is grpc.StatusCode.NOT_FOUND


async def test_a_reader_that_leaves_is_no_bug(
    connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "secret " * 5_000
    requests = [
        wire.ScoreStreamRequest(
            score=wire.ScoreRequest(model=TINY, texts=[text] * 4, detail=wire.SCORE_DETAIL_TOKENS)
        )
    ] * 20
    for _ in range(3):
        stream = connection.stub.ScoreStream(iter(requests))
        await stream.read()
        stream.cancel()
    while connection.server.calls.running:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)

    assert await score(connection, "a b")
    logged = "".join(capsys.readouterr())
    assert "internal error" not in logged
    assert "secret" not in logged


async def test_a_stream_answers_all_requests_within_a_small_window(tiny_arpa: Path) -> None:
    settings = settings_for(tiny_arpa, max_stream_requests=2, max_stream_bytes=50)
    requests = [
        wire.ScoreStreamRequest(
            request_id=i, score=wire.ScoreRequest(model=TINY, texts=["a b " * i])
        )
        for i in range(40)
    ]
    async with running(settings) as connection:
        answers = {
            answer.request_id async for answer in connection.stub.ScoreStream(iter(requests))
        }

    assert answers == set(range(40))
