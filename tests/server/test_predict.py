"""Predict, and Score in full detail, over a real connection."""

from __future__ import annotations

import math
from pathlib import Path

import grpc
import pytest

from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from lmscore.v1.model_service_pb2 import GetModelRequest
from tests.server.harness import Connection, failure_of, running, settings_for

TINY = ModelSelector(name="tiny")
FIXTURES = Path(__file__).parents[1] / "models/kenlm/fixtures"


async def test_predictions_are_the_distribution_worked_out_by_hand(connection: Connection) -> None:
    request = wire.PredictRequest(model=TINY, prompts=["b a", "a", ""], top_k=3)
    response = await connection.stub.Predict(request)

    after_a, same, start = response.predictions
    assert after_a == same  # a bigram model sees one word
    assert list(after_a.next.tokens) == ["b", "a", "</s>"]
    expected = [math.log(p) for p in (0.5, 5 / 7 * 0.4, 5 / 7 * 0.2)]
    assert list(after_a.next.log_probs) == pytest.approx(expected, abs=1e-5)
    everything = [0.5, 5 / 7 * 0.4, 5 / 7 * 0.2, 5 / 7 * 0.1]
    assert after_a.entropy == pytest.approx(-sum(p * math.log(p) for p in everything), abs=1e-5)
    assert start.next.tokens[0] == "a"
    assert response.model.name == "tiny"


async def test_without_bos_nothing_is_known(connection: Connection) -> None:
    request = wire.PredictRequest(model=TINY, prompts=[""], bos=False, top_k=100)
    [prediction] = (await connection.stub.Predict(request)).predictions

    assert list(prediction.next.tokens) == ["a", "b", "</s>", "<unk>"]  # all but <s>
    assert sum(map(math.exp, prediction.next.log_probs)) == pytest.approx(1, abs=1e-6)


async def test_full_detail_adds_rank_entropy_and_alternatives(connection: Connection) -> None:
    texts = ["a a", "", "c b"]
    full = wire.ScoreRequest(model=TINY, texts=texts, detail=wire.SCORE_DETAIL_FULL, alternatives=2)
    plain = wire.ScoreRequest(model=TINY, texts=texts, detail=wire.SCORE_DETAIL_TOKENS)
    with_details = (await connection.stub.Score(full)).scores
    without = (await connection.stub.Score(plain)).scores

    tokens = with_details[0].tokens
    assert list(tokens.ranks) == [1, 2, 3]  # after a: b 0.5, a 0.29, </s> 0.14
    assert [list(a.tokens) for a in tokens.alternatives][1:] == [["b", "a"], ["b", "a"]]
    assert list(with_details[2].tokens.ranks) == [4, 2, 1]
    for detailed, expected in zip(with_details, without, strict=True):
        for field in ("ranks", "entropies", "alternatives"):
            detailed.tokens.ClearField(field)
        assert detailed == expected


async def test_a_prompt_over_the_limit_has_its_own_error(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa, max_text_bytes=3)) as connection:
        request = wire.PredictRequest(model=TINY, prompts=["a b a", "a"])
        too_long, fine = (await connection.stub.Predict(request)).predictions

    assert too_long.error.field == "prompts[0]"
    assert fine.next.tokens[0] == "b"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (wire.PredictRequest(model=TINY), "prompts"),
        (wire.PredictRequest(model=TINY, prompts=["a"] * 4), "prompts"),
        (wire.PredictRequest(model=TINY, prompts=["a"], top_k=0), "top_k"),
        (wire.PredictRequest(model=TINY, prompts=["a"], top_k=1001), "top_k"),
    ],
)
async def test_a_bad_request_names_its_field(
    tiny_arpa: Path, request_: wire.PredictRequest, field: str
) -> None:
    async with running(settings_for(tiny_arpa, max_distributions=3)) as connection:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await connection.stub.Predict(request_)

    assert failure_of(raised.value).fields == [field]


async def test_full_detail_of_too_many_tokens_is_refused(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa, max_distributions=5)) as connection:
        request = wire.ScoreRequest(model=TINY, texts=["a b", "a b"], detail=wire.SCORE_DETAIL_FULL)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await connection.stub.Score(request)
        request.eos = False
        assert len((await connection.stub.Score(request)).scores) == 2

    assert failure_of(raised.value).fields == ["detail"]


async def test_a_kenlm_file_without_words_scores_and_says_why_it_cannot_do_more() -> None:
    settings = settings_for(FIXTURES / "plain.probing_wordless.bin")
    async with running(settings) as connection:
        scored = await connection.stub.Score(wire.ScoreRequest(model=TINY, texts=["a b"]))
        told = await connection.models.GetModel(GetModelRequest(model=TINY))
        by_ids = wire.ScoreRequest(
            model=TINY,
            token_sequences=[wire.TokenSequence(ids=[5])],
            detail=wire.SCORE_DETAIL_TOKENS,
        )
        failures = []
        for call, request in (
            (connection.stub.Predict, wire.PredictRequest(model=TINY, prompts=["a"])),
            (connection.stub.Score, by_ids),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(request)
            failures.append(failure_of(raised.value))

    assert scored.scores[0].token_count == 3
    contract = told.model.scoring_contract
    assert (contract.bos_token, contract.eos_token) == ("<s>", "</s>")  # as they are called
    for failed in failures:
        assert failed.code is grpc.StatusCode.FAILED_PRECONDITION
        assert failed.reason == "UNSUPPORTED_BY_MODEL"
        assert "words" in failed.message
