"""Every RPC for models of every kind of token: by hand for characters, by contract for all."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from lmscore.models.language_model import LanguageModel, Texts
from lmscore.models.loading import load_model
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1 import model_service_pb2
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.bigrams import AFTER, CHARACTERS, KINDS, UNKNOWN_LOG_PROB, characters
from tests.server.character_network import character_network
from tests.server.harness import Connection, Failure, failure_of, running, settings_for

NAMED = ModelSelector(name="m")
NO_TOKEN_ID = 2**32 - 1
TEXTS = ["a b", "", "ab  ü b", " ", "\ta\n", "b a b a", "ß"]


@asynccontextmanager
async def serving(model: LanguageModel[Any], **settings: Any) -> AsyncIterator[Connection]:
    async with running(settings_for(Path("none"), **settings), load=False) as connection:
        connection.server.repository.add(ServedModel("m", 1, "ab" * 32, model))
        yield connection


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    async with serving(characters()) as connected:
        yield connected


@pytest.fixture(params=["ngram", "network", *KINDS])
async def any_kind(request: pytest.FixtureRequest, tiny_arpa: Path) -> AsyncIterator[Connection]:
    makers: dict[str, Callable[[], LanguageModel[Any]]] = {
        "ngram": lambda: load_model(tiny_arpa),
        "network": character_network,
        **KINDS,
    }
    model = makers[request.param]()
    async with serving(model) as connected:
        yield connected


def p(line: str, bos: str = "</s>", end: str = "</s>") -> list[float]:
    """Probabilities of the characters of a line, and of its end, each after the one before."""
    tokens = [*line, end] if end else [*line]
    return [
        AFTER[last][CHARACTERS.index(token)]
        for last, token in zip([bos, *tokens], tokens, strict=False)
    ]


async def score(connection: Connection, *texts: str, **fields: object) -> list[wire.TextScore]:
    request = wire.ScoreRequest(model=NAMED, texts=texts, **fields)  # type: ignore[arg-type]
    return list((await connection.stub.Score(request)).scores)


async def failure(call: Any, request: Any) -> Failure:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(request)
    return failure_of(raised.value)


# --- characters, by hand ---


async def test_characters_have_the_probabilities_worked_out_by_hand(connection: Connection) -> None:
    both, empty = await score(connection, "ab a", "")

    assert both.log_prob == pytest.approx(math.log(1 / 2 * 1 / 4 * 1 / 8 * 1 / 4 * 1 / 4))
    assert both.token_count == 5
    assert both.perplexity == pytest.approx((2 * 4 * 8 * 4 * 4) ** (1 / 5))
    assert empty.log_prob == pytest.approx(math.log(1 / 16))


@pytest.mark.parametrize(
    ("bos", "eos", "context"), [(0, 1, ""), (1, 0, ""), (1, 1, "ab"), (0, 0, "a")]
)
async def test_flags_and_context_are_those_of_the_request(
    connection: Connection, bos: int, eos: int, context: str
) -> None:
    [scored] = await score(connection, "b ü", bos=bool(bos), eos=bool(eos), context=context)

    before = context[-1:] or ("</s>" if bos else "nothing")
    expected = p("b ü", before, "</s>" if eos else "")
    assert scored.log_prob == pytest.approx(sum(map(math.log, expected)))
    assert scored.token_count == len(expected)


async def test_tokens_are_characters_with_their_places(connection: Connection) -> None:
    [scored] = await score(connection, "aü ", detail=wire.SCORE_DETAIL_TOKENS)

    tokens = scored.tokens
    assert list(tokens.tokens) == ["a", "ü", " ", "</s>"]
    assert list(tokens.token_ids) == [1, 4, 3, 0]
    assert list(tokens.begin_bytes) == [0, 1, 3, 4]
    assert list(tokens.end_bytes) == [1, 3, 4, 4]
    assert list(tokens.log_probs) == pytest.approx([math.log(each) for each in p("aü ")])
    assert not tokens.matched_orders


async def test_an_unknown_character_without_an_id_is_told_as_such(connection: Connection) -> None:
    [scored] = await score(connection, "aß", detail=wire.SCORE_DETAIL_FULL)
    tokenize = wire.TokenizeRequest(model=NAMED, texts=["aß"])
    [text] = (await connection.stub.Tokenize(tokenize)).texts

    assert list(scored.tokens.tokens) == ["a", "ß", "</s>"]
    assert list(scored.tokens.token_ids) == [1, NO_TOKEN_ID, 0]
    assert list(scored.tokens.oov) == [False, True, False]
    assert scored.oov_count == 1
    assert scored.tokens.log_probs[1] == pytest.approx(UNKNOWN_LOG_PROB)
    assert scored.tokens.ranks[1] == len(CHARACTERS) + 1  # behind all that there are
    assert scored.log_prob_excluding_oov == pytest.approx(math.log(1 / 2 * 1 / 5))
    assert (list(text.token_ids), list(text.oov)) == ([1, NO_TOKEN_ID], [False, True])


async def test_full_detail_has_rank_entropy_and_alternatives(connection: Connection) -> None:
    [scored] = await score(connection, "a", detail=wire.SCORE_DETAIL_FULL, alternatives=100)

    start, after_a = scored.tokens.alternatives
    assert list(start.tokens) == ["a", "b", " ", "</s>", "ü"]  # of equal ones the lower id
    assert list(after_a.tokens) == ["</s>", "a", "b", " ", "ü"]
    assert list(scored.tokens.ranks) == [1, 1]
    entropies = [-sum(q * math.log(q) for q in AFTER[token]) for token in ("</s>", "a")]
    assert list(scored.tokens.entropies) == pytest.approx(entropies)


async def test_predictions_may_end_the_text(connection: Connection) -> None:
    request = wire.PredictRequest(model=NAMED, prompts=["ab", ""], top_k=100)
    after_b, start = (await connection.stub.Predict(request)).predictions

    assert list(after_b.next.tokens) == ["</s>", "a", "b", " ", "ü"]
    assert list(after_b.next.log_probs) == pytest.approx([math.log(q) for q in AFTER["b"]])
    assert sum(map(math.exp, start.next.log_probs)) == pytest.approx(1)


async def test_the_end_is_an_event_of_a_token_sequence_where_it_is_also_the_beginning(
    connection: Connection,
) -> None:
    request = wire.ScoreRequest(
        model=NAMED,
        token_sequences=[wire.TokenSequence(ids=ids) for ids in ([1, 0, 2], [1, 5])],
        detail=wire.SCORE_DETAIL_TOKENS,
    )
    fine, outside = (await connection.stub.Score(request)).scores

    expected = [1 / 2, 1 / 4, 1 / 4, 1 / 2]  # a after </s>, </s> after a, b after </s>, </s>
    assert list(fine.tokens.log_probs) == pytest.approx([math.log(each) for each in expected])
    assert list(fine.tokens.tokens) == ["a", "</s>", "b", "</s>"]
    assert outside.error.field == "token_sequences[1].ids[1]"


async def test_words_have_the_sums_of_their_characters(connection: Connection) -> None:
    [scored] = await score(connection, "ab  üa", words=True)

    a, b, blank1, blank2, ue, a2, end = p("ab  üa")
    words = scored.words
    assert list(words.words) == ["ab", "üa", "</s>"]
    assert list(words.begin_bytes) == [0, 4, 7]
    assert list(words.end_bytes) == [2, 7, 7]
    expected = [a * b, blank1 * blank2 * ue * a2, end]
    assert list(words.log_probs) == pytest.approx([math.log(each) for each in expected])
    assert list(words.token_counts) == [2, 4, 1]
    assert list(words.oov) == [False, False, False]
    assert not scored.HasField("tokens")


async def test_a_hypothesis_has_the_score_of_its_characters_and_a_bonus_for_its_words(
    connection: Connection,
) -> None:
    request = wire.RescoreRequest(
        model=NAMED,
        lists=[
            wire.NBestList(hypotheses=[wire.Hypothesis(text=t) for t in ("a b", "ab")]),
            wire.NBestList(hypotheses=[wire.Hypothesis(text="b")], context="ü"),
        ],
        weights=[wire.RescoreWeights(), wire.RescoreWeights(length_bonus=10)],
    )
    first, second = (await connection.stub.Rescore(request)).lists

    log_probs = [sum(map(math.log, p(text))) for text in ("a b", "ab")]
    assert list(first.log_probs) == pytest.approx(log_probs)
    assert list(first.token_counts) == [4, 3]
    assert [list(each.order) for each in first.rankings] == [[1, 0], [0, 1]]
    assert list(first.rankings[1].totals) == pytest.approx([log_probs[0] + 20, log_probs[1] + 10])
    assert list(second.log_probs) == pytest.approx([math.log(1 / 5 * 1 / 2)])


async def test_the_model_is_described_as_a_network(connection: Connection) -> None:
    request = model_service_pb2.GetModelRequest(model=NAMED)
    model = (await connection.models.GetModel(request)).model

    assert model.kind == model_service_pb2.MODEL_KIND_LSTM
    assert model.tokenizer == model_service_pb2.TOKENIZER_KIND_CHARACTERS
    assert model.vocabulary_size == 5
    assert list(model.network.hidden_sizes) == [650, 650]
    assert (model.network.device, model.network.dtype) == ("cpu", "float32")
    contract = model.scoring_contract
    assert (contract.bos_token, contract.eos_token) == ("</s>", "</s>")
    assert (contract.unknown_token, contract.has_unknown) == ("", False)


# --- any kind of token ---


async def test_tokens_words_and_text_have_one_sum(any_kind: Connection) -> None:
    for eos in (True, False):
        scores = await score(any_kind, *TEXTS, detail=wire.SCORE_DETAIL_TOKENS, words=True, eos=eos)
        plain = await score(any_kind, *TEXTS, eos=eos)

        for text, detailed, alone in zip(TEXTS, scores, plain, strict=True):
            tokens, words = detailed.tokens, detailed.words
            assert math.fsum(tokens.log_probs) == pytest.approx(alone.log_prob, rel=1e-5)
            assert math.fsum(words.log_probs) == pytest.approx(alone.log_prob, rel=1e-5)
            assert sum(words.token_counts) == len(tokens.tokens) == alone.token_count
            assert sum(tokens.oov) == alone.oov_count
            assert list(words.words)[: len(text.split())] == text.split()
            if eos:
                assert (tokens.tokens[-1], words.words[-1]) == ("</s>", "</s>")


async def test_places_are_those_of_the_shown_tokens(any_kind: Connection) -> None:
    scores = await score(any_kind, *TEXTS, detail=wire.SCORE_DETAIL_TOKENS)
    request = wire.TokenizeRequest(model=NAMED, texts=TEXTS)
    tokenized = (await any_kind.stub.Tokenize(request)).texts

    for text, scored, split in zip(TEXTS, scores, tokenized, strict=True):
        tokens, data = scored.tokens, text.encode()
        assert list(tokens.tokens)[:-1] == list(split.tokens)
        assert list(tokens.begin_bytes)[:-1] == list(split.begin_bytes)
        for shown, begin, end in zip(split.tokens, split.begin_bytes, split.end_bytes, strict=True):
            piece = data[begin:end]
            try:
                covered = piece.decode()
            except UnicodeDecodeError:
                covered = "".join(f"<0x{byte:02X}>" for byte in piece)
            assert shown == covered or not piece
            assert shown


async def test_a_stream_gives_what_single_requests_give(any_kind: Connection) -> None:
    requests = (
        wire.ScoreStreamRequest(
            request_id=i, score=wire.ScoreRequest(model=NAMED, texts=[TEXTS[i % len(TEXTS)]])
        )
        for i in range(200)
    )
    answers = {a.request_id: a async for a in any_kind.stub.ScoreStream(requests)}

    expected = await score(any_kind, *TEXTS)
    assert len(answers) == 200
    for i, answer in answers.items():
        [given], wanted = answer.score.scores, expected[i % len(TEXTS)]
        assert given.log_prob == pytest.approx(wanted.log_prob, abs=1e-4)
        assert (given.token_count, given.oov_count) == (wanted.token_count, wanted.oov_count)


async def test_tokens_score_as_their_text(any_kind: Connection) -> None:
    texts = ["a b", "", "b a b"]
    request = wire.TokenizeRequest(model=NAMED, texts=texts)
    tokenized = (await any_kind.stub.Tokenize(request)).texts
    sequences = [wire.TokenSequence(ids=text.token_ids) for text in tokenized]
    by_ids = await any_kind.stub.Score(wire.ScoreRequest(model=NAMED, token_sequences=sequences))

    assert [s.log_prob for s in by_ids.scores] == pytest.approx(
        [s.log_prob for s in await score(any_kind, *texts)], rel=1e-5
    )


async def test_a_prediction_is_the_distribution_that_scores_the_next_token(
    any_kind: Connection,
) -> None:
    predicted = await any_kind.stub.Predict(
        wire.PredictRequest(model=NAMED, prompts=["a b"], top_k=1000)
    )
    [likely] = [each.next for each in predicted.predictions]
    sequences = [wire.TokenSequence(ids=[token_id]) for token_id in likely.token_ids]
    scored = await any_kind.stub.Score(
        wire.ScoreRequest(model=NAMED, token_sequences=sequences, context="a b", eos=False)
    )

    assert list(likely.log_probs) == sorted(likely.log_probs, reverse=True)
    assert sum(map(math.exp, likely.log_probs)) == pytest.approx(1, abs=1e-5)
    assert [s.log_prob for s in scored.scores] == pytest.approx(list(likely.log_probs), abs=1e-5)


async def test_full_detail_agrees_with_predictions(any_kind: Connection) -> None:
    [scored] = await score(any_kind, "a b", detail=wire.SCORE_DETAIL_FULL, alternatives=3)
    predicted = await any_kind.stub.Predict(
        wire.PredictRequest(model=NAMED, prompts=["", "a b"], top_k=3)
    )

    start, end = predicted.predictions
    first = scored.tokens.alternatives[0]
    assert list(first.tokens) == list(start.next.tokens)
    assert list(first.log_probs) == pytest.approx(list(start.next.log_probs), abs=1e-4)
    assert scored.tokens.entropies[-1] == pytest.approx(end.entropy, abs=1e-4)
    assert list(scored.tokens.alternatives[-1].tokens) == list(end.next.tokens)


async def test_too_long_texts_fail_alone(any_kind: Connection) -> None:
    long = "a" * (2**20 + 1)
    scores = await score(any_kind, "a b", long, words=True)
    [only] = await score(any_kind, long, words=True, detail=wire.SCORE_DETAIL_TOKENS)

    assert [s.HasField("error") for s in scores] == [False, True]
    assert scores[1].error.reason == "TEXT_TOO_LONG"
    assert only.HasField("error")


# --- estimates of what a request comes to ---


@pytest.mark.parametrize("kind", KINDS)
async def test_as_many_distributions_as_allowed_are_allowed(kind: str) -> None:
    model = KINDS[kind]()
    text = "ab üb a ab ab"
    events = len(model.tokenize(Texts.from_strings([text])).token_ids) + 1
    request = wire.ScoreRequest(model=NAMED, texts=[text], detail=wire.SCORE_DETAIL_FULL)
    async with serving(model, max_distributions=events) as connection:
        [scored] = (await connection.stub.Score(request)).scores
    async with serving(model, max_distributions=events - 1) as connection:
        failed = await failure(connection.stub.Score, request)

    assert len(scored.tokens.tokens) == events
    assert failed.fields == ["detail"]


@pytest.mark.parametrize("kind", KINDS)
async def test_answers_up_to_the_limit_are_given_and_larger_ones_refused_before_the_work(
    kind: str,
) -> None:
    model = KINDS[kind]()
    fits, over = ["ab ab b " * 4], ["ab ab b " * 300]
    async with serving(model, max_message_bytes=4096) as connection:
        for fields in ({"detail": wire.SCORE_DETAIL_TOKENS}, {"words": True}):
            assert await score(connection, *fits, **fields)
            request = wire.ScoreRequest(model=NAMED, texts=over, **fields)
            assert (await failure(connection.stub.Score, request)).fields == ["detail"]
        assert await connection.stub.Tokenize(wire.TokenizeRequest(model=NAMED, texts=fits))
        split = wire.TokenizeRequest(model=NAMED, texts=over)
        assert (await failure(connection.stub.Tokenize, split)).fields == ["texts"]


async def test_a_small_vocabulary_bounds_what_can_be_told() -> None:
    async with serving(characters(), max_message_bytes=4096) as connection:
        request = wire.PredictRequest(model=NAMED, prompts=[""] * 20, top_k=1000)
        predicted = (await connection.stub.Predict(request)).predictions
        [scored] = await score(
            connection, "ab ab", detail=wire.SCORE_DETAIL_FULL, alternatives=1000
        )

    assert len(predicted[0].next.tokens) == 5
    assert len(scored.tokens.alternatives[0].tokens) == 5


async def test_words_of_token_sequences_are_refused(connection: Connection) -> None:
    request = wire.ScoreRequest(
        model=NAMED, token_sequences=[wire.TokenSequence(ids=[1])], words=True
    )

    assert (await failure(connection.stub.Score, request)).fields == ["words"]
