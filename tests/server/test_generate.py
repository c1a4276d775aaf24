"""What Generate answers: the texts that decoding gives, and errors that name their field."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest

from lmscore.models.decoding.parameters import Beam, Decoding, Greedy, Sampling
from lmscore.models.decoding.rows import FinishReason
from lmscore.models.errors import CapabilityError
from lmscore.models.language_model import LanguageModel
from lmscore.models.loading import load_model
from lmscore.models.text_decoder import TextDecoder
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.bigrams import BigramModel, characters
from tests.server.generating import (
    DEMO,
    MODEL,
    byte_network,
    character_network,
    generated,
    in_process,
    request,
    serving,
)
from tests.server.harness import Connection, failure_of

KINDS: dict[str, tuple[Any, str]] = {
    "words": (lambda: load_model(DEMO), "the function returns"),
    "characters": (character_network, "the ca"),
    "bytes": (byte_network, "über € "),
}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> tuple[LanguageModel[Any], str]:
    """A model and a prompt for it."""
    make, prompt = KINDS[request.param]
    return make(), prompt


@pytest.fixture(scope="module")
def demo() -> LanguageModel[Any]:
    return load_model(DEMO)


@pytest.fixture
async def served(demo: LanguageModel[Any]) -> AsyncIterator[Connection]:
    async with serving(demo, max_text_bytes=1000) as connection:
        yield connection


REQUESTS: list[tuple[dict[str, Any], Decoding]] = [
    ({}, Decoding()),
    (
        {"sampling": wire.Sampling(), "seed": 7, "max_tokens": 40, "num_sequences": 3},
        Decoding(Sampling(), seed=7, max_tokens=40, num_sequences=3),
    ),
    (
        {
            "sampling": wire.Sampling(temperature=1.5, top_k=20, top_p=0.9, min_p=0.01),
            "seed": 2**64 - 1,
            "min_tokens": 10,
            "max_tokens": 60,
            "stop_strings": ["e", " a", "t", "\u20ac"],
            "repetition_penalty": 1.3,
        },
        Decoding(
            Sampling(1.5, 20, 0.9, 0.01),
            seed=2**64 - 1,
            min_tokens=10,
            max_tokens=60,
            stop_strings=(b"e", b" a", b"t", "\u20ac".encode()),
            repetition_penalty=1.3,
        ),
    ),
    (
        {"greedy": wire.Greedy(), "banned_token_ids": [5, 9], "stop_token_ids": [4, 8]},
        Decoding(Greedy(), banned_token_ids=(5, 9), stop_token_ids=(4, 8)),
    ),
    (
        {
            "beam": wire.Beam(width=4, length_penalty=1, num_results=3),
            "max_tokens": 12,
            "stop_strings": ["."],
        },
        Decoding(Beam(4, 1.0, 3), max_tokens=12, stop_strings=(b".",)),
    ),
]


@pytest.mark.parametrize(("fields", "settings"), REQUESTS)
async def test_texts_are_those_of_decoding(
    kind: tuple[LanguageModel[Any], str], fields: dict[str, Any], settings: Decoding
) -> None:
    model, prompt = kind
    async with serving(model) as connection:
        stream = await generated(connection, prompt=prompt, **fields)

    expected = in_process(model, prompt, settings)
    assert sorted(stream.texts) == sorted(expected)
    for number, text in stream.texts.items():
        want = expected[number]
        assert (text.text, text.token_ids) == (want.text, want.token_ids)
        assert text.log_probs == pytest.approx(want.log_probs, abs=1e-4)
        assert text.finished.token_count == len(text.token_ids)
        assert text.finished.log_prob == pytest.approx(sum(text.log_probs), abs=1e-9)
        reason = wire.FinishReason.Name(text.finished.reason)
        assert reason == f"FINISH_REASON_{want.finished.reason.name}"
        assert text.finished.HasField("score") == ("beam" in fields)


async def test_log_probs_are_those_of_score(kind: tuple[LanguageModel[Any], str]) -> None:
    model, prompt = kind
    fields = {"sampling": wire.Sampling(), "num_sequences": 8, "max_tokens": 30, "seed": 5}
    async with serving(model) as connection:
        stream = await generated(connection, prompt=prompt, **fields)
        for text in stream.texts.values():
            ended = text.finished.reason == wire.FINISH_REASON_END_OF_TEXT
            ids = text.token_ids[:-1] if ended else text.token_ids
            score = wire.ScoreRequest(
                model=MODEL,
                token_sequences=[wire.TokenSequence(ids=ids)],
                context=prompt,
                eos=ended,
            )
            (scored,) = (await connection.stub.Score(score)).scores
            assert text.finished.log_prob == pytest.approx(scored.log_prob, abs=1e-4)


async def test_a_text_of_words_scores_what_was_generated(served: Connection) -> None:
    fields = {"sampling": wire.Sampling(), "num_sequences": 8, "max_tokens": 30, "seed": 6}
    stream = await generated(served, prompt="the", **fields)
    assert len(stream.texts) == 8
    for text in stream.texts.values():
        ended = text.finished.reason == wire.FINISH_REASON_END_OF_TEXT
        score = wire.ScoreRequest(model=MODEL, texts=[text.text], context="the", eos=ended)
        (scored,) = (await served.stub.Score(score)).scores
        assert text.finished.log_prob == pytest.approx(scored.log_prob, abs=1e-4)


async def test_deltas_are_whole_characters(kind: tuple[LanguageModel[Any], str]) -> None:
    model, _ = kind
    async with serving(model) as connection:
        stream = await generated(
            connection,
            sampling=wire.Sampling(temperature=3),
            seed=1,
            max_tokens=200,
            min_tokens=200,
        )
    text = stream.texts[0]
    # A character that was cut in two would show as more than one replacement.
    assert (
        "".join(text.pieces)
        == in_process(model, "", Decoding(Sampling(3.0), seed=1, max_tokens=200, min_tokens=200))[
            0
        ].text
    )
    assert len(text.pieces) == 201


async def test_a_drawn_seed_is_told_and_gives_the_text_again(served: Connection) -> None:
    sampling = wire.Sampling()
    first, other = [
        await generated(served, prompt="the", sampling=sampling, min_tokens=10) for _ in range(2)
    ]
    again = await generated(
        served, prompt="the", sampling=sampling, min_tokens=10, seed=first.started.seed
    )

    assert first.started.seed != other.started.seed
    assert first.texts[0].token_ids != other.texts[0].token_ids
    assert again.texts[0].token_ids == first.texts[0].token_ids


@pytest.mark.parametrize("prompt", ["", "qqqq zzzz", "the", "qqqq the "])
@pytest.mark.parametrize("bos", [True, False])
async def test_any_prompt_is_continued_with_and_without_what_stands_before_it(
    served: Connection, demo: LanguageModel[Any], prompt: str, bos: bool
) -> None:
    stream = await generated(
        served, prompt=prompt, bos=bos, sampling=wire.Sampling(), seed=3, max_tokens=20
    )

    expected = in_process(demo, prompt, Decoding(Sampling(), seed=3, max_tokens=20), bos=bos)
    assert stream.texts[0].text == expected[0].text
    assert stream.started.prompt_token_count == len(prompt.split())
    assert stream.started.prompt_oov_count == sum(word in "qqqq zzzz" for word in prompt.split())
    assert stream.started.model.name == "m"


async def test_a_prompt_that_is_read_in_pieces_is_read_as_a_whole(
    kind: tuple[LanguageModel[Any], str],
) -> None:
    model, prompt = kind
    prompt = " ".join([prompt] * 5)
    async with serving(model, max_prefill_tokens=3) as connection:
        stream = await generated(connection, prompt=prompt, max_tokens=20)

    assert (
        stream.texts[0].token_ids == in_process(model, prompt, Decoding(max_tokens=20))[0].token_ids
    )


async def test_alternatives_are_the_models_predictions(served: Connection) -> None:
    stream = await generated(served, prompt="the", alternatives=4, max_tokens=3, min_tokens=3)
    predict = wire.PredictRequest(model=MODEL, prompts=["the"], top_k=4)
    (predicted,) = (await served.stub.Predict(predict)).predictions

    tokens = [token for message in stream.messages for token in message.tokens]
    assert tokens[0].alternatives == predicted.next
    assert all(len(token.alternatives.token_ids) == 4 for token in tokens)
    assert tokens[0].token == predicted.next.tokens[0]


async def test_results_of_a_beam_come_best_first(served: Connection) -> None:
    beam = wire.Beam(width=6, num_results=5, length_penalty=0.7)
    stream = await generated(served, prompt="the", beam=beam, max_tokens=8)

    finished = [each for message in stream.messages for each in message.finished]
    assert [each.sequence for each in finished] == list(range(5))
    assert [each.score for each in finished] == sorted((e.score for e in finished), reverse=True)
    assert [each.score for each in finished] == pytest.approx(
        [each.log_prob / each.token_count**0.7 for each in finished]
    )


async def test_a_text_without_any_possible_token_comes_to_a_dead_end() -> None:
    async with serving(characters()) as connection:
        stream = await generated(connection, banned_token_ids=range(5))
        beams = await generated(connection, banned_token_ids=range(5), beam=wire.Beam(width=2))

    for each in (stream, beams):
        assert each.texts[0].finished.reason == wire.FINISH_REASON_DEAD_END
        assert each.texts[0].token_ids == []


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"model": ModelSelector()}, "model.name"),
        ({"sampling": wire.Sampling(temperature=0)}, "sampling.temperature"),
        ({"sampling": wire.Sampling(temperature=-1)}, "sampling.temperature"),
        ({"sampling": wire.Sampling(temperature=float("nan"))}, "sampling.temperature"),
        ({"sampling": wire.Sampling(temperature=float("inf"))}, "sampling.temperature"),
        ({"sampling": wire.Sampling(top_p=0)}, "sampling.top_p"),
        ({"sampling": wire.Sampling(top_p=1.01)}, "sampling.top_p"),
        ({"sampling": wire.Sampling(top_p=float("nan"))}, "sampling.top_p"),
        ({"sampling": wire.Sampling(min_p=-0.1)}, "sampling.min_p"),
        ({"sampling": wire.Sampling(min_p=2)}, "sampling.min_p"),
        ({"beam": wire.Beam()}, "beam.width"),
        ({"beam": wire.Beam(width=65)}, "beam.width"),
        ({"beam": wire.Beam(width=2, num_results=3)}, "beam.num_results"),
        ({"beam": wire.Beam(width=2, num_results=0)}, "beam.num_results"),
        ({"beam": wire.Beam(width=2, length_penalty=-1)}, "beam.length_penalty"),
        ({"beam": wire.Beam(width=2, length_penalty=400)}, "beam.length_penalty"),
        ({"beam": wire.Beam(width=2, length_penalty=float("inf"))}, "beam.length_penalty"),
        ({"beam": wire.Beam(width=2), "num_sequences": 2}, "num_sequences"),
        ({"beam": wire.Beam(width=2), "alternatives": 2}, "alternatives"),
        ({"num_sequences": 0}, "num_sequences"),
        ({"num_sequences": 65}, "num_sequences"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 4097}, "max_tokens"),
        ({"max_tokens": 3, "min_tokens": 4}, "min_tokens"),
        ({"stop_strings": ["a", "b", ""]}, "stop_strings[2]"),
        ({"stop_strings": ["a" * 4097]}, "stop_strings"),
        ({"stop_token_ids": [1, 10**6]}, "stop_token_ids[1]"),
        ({"banned_token_ids": [10**6]}, "banned_token_ids[0]"),
        ({"banned_token_ids": [1] * 1001}, "banned_token_ids"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty"),
        ({"alternatives": 1001}, "alternatives"),
        ({"prompt": "a" * 1001}, "prompt"),
        ({"prompt": "é" * 501}, "prompt"),
    ],
)
async def test_a_bad_field_is_named(served: Connection, fields: dict[str, Any], path: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.stub.Generate(wire.GenerateRequest(**({"model": MODEL} | fields))).read()

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.fields == [path]


async def test_settings_at_their_edge_are_served(served: Connection) -> None:
    edge = wire.Sampling(temperature=1e-300, top_k=2**32 - 1, top_p=1, min_p=1)
    stream = await generated(served, sampling=edge, max_tokens=3, num_sequences=64, seed=0)

    assert len(stream.texts) == 64


async def test_a_prompt_that_is_no_text_is_refused(served: Connection) -> None:
    data = request(prompt="abc").SerializeToString().replace(b"abc", b"a\xffc")
    call: Any = served.channel.unary_stream(
        "/lmscore.v1.LanguageModelService/Generate",
        response_deserializer=wire.GenerateResponse.FromString,
    )
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(data).read()

    assert failure_of(raised.value).fields == ["prompt"]


async def test_an_unknown_model_is_not_found(served: Connection) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.stub.Generate(wire.GenerateRequest(model=ModelSelector(name="other"))).read()

    assert failure_of(raised.value).resource == "other"


class Nameless(BigramModel):
    """A model that can only score."""

    def text_decoder(self, prompt: bytes) -> TextDecoder:  # noqa: ARG002 whatever it is
        raise CapabilityError("built without words")


async def test_a_model_that_can_only_score_says_so_before_the_stream_begins(
    served: Connection,
) -> None:
    model = characters()
    nameless = Nameless(model.tokenizer, np.exp(model.log_probs))
    served.server.repository.add(ServedModel("nameless", 1, "ab" * 32, nameless))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.stub.Generate(
            wire.GenerateRequest(model=ModelSelector(name="nameless"))
        ).read()

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failed.reason == "UNSUPPORTED_BY_MODEL"


def test_reasons_are_all_known_to_the_contract() -> None:
    names = {f"FINISH_REASON_{reason.name}" for reason in FinishReason} - {"FINISH_REASON_RUNNING"}

    assert names | {"FINISH_REASON_UNSPECIFIED"} == set(wire.FinishReason.keys())
