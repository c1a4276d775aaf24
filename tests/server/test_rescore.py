"""Rescore over a real connection, against a direct computation."""

from __future__ import annotations

import math
from pathlib import Path

import grpc
import pytest

from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.harness import Connection, failure_of, running, settings_for

TINY = ModelSelector(name="tiny")


def nbest(*hypotheses: tuple[str, float], id_: str = "u", context: str = "") -> wire.NBestList:
    messages = [wire.Hypothesis(text=text, features=[value]) for text, value in hypotheses]
    return wire.NBestList(id=id_, hypotheses=messages, context=context)


def request(*lists: wire.NBestList, weights: list[wire.RescoreWeights]) -> wire.RescoreRequest:
    return wire.RescoreRequest(model=TINY, lists=lists, feature_names=["acoustic"], weights=weights)


async def test_totals_are_the_weighted_sums(connection: Connection) -> None:
    lists = [nbest(("a b", -1.0), ("b c a", -0.5), ("", -0.2)), nbest(("c", 3.0), id_="v")]
    settings = [(1.0, 0.0, 0.0, 1.0), (0.5, 0.25, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0)]
    weights = [
        wire.RescoreWeights(
            lm_weight=lm, length_bonus=bonus, oov_penalty=oov, feature_weights={"acoustic": f}
        )
        for lm, bonus, oov, f in settings
    ]
    response = await connection.stub.Rescore(request(*lists, weights=weights))

    assert [answer.id for answer in response.lists] == ["u", "v"]
    for given, answer in zip(lists, response.lists, strict=True):
        texts = [h.text for h in given.hypotheses]
        scored = await connection.stub.Score(wire.ScoreRequest(model=TINY, texts=texts))
        assert list(answer.log_probs) == [s.log_prob for s in scored.scores]
        assert list(answer.oov_counts) == [s.oov_count for s in scored.scores]
        for (lm, bonus, oov, f), ranking in zip(settings, answer.rankings, strict=True):
            totals = [
                lm * s.log_prob
                + bonus * len(h.text.split())
                - oov * s.oov_count
                + f * h.features[0]
                for s, h in zip(scored.scores, given.hypotheses, strict=True)
            ]
            assert list(ranking.totals) == pytest.approx(totals, rel=1e-12)
            assert list(ranking.order) == sorted(range(len(totals)), key=lambda i: -totals[i])


async def test_unset_weights_are_one_zero_zero_one(connection: Connection) -> None:
    given = nbest(("a b", -1.0), ("b c a", -0.5))
    response = await connection.stub.Rescore(request(given, weights=[wire.RescoreWeights()]))

    [answer] = response.lists
    expected = [
        log_prob + h.features[0]
        for log_prob, h in zip(answer.log_probs, given.hypotheses, strict=True)
    ]
    assert list(answer.rankings[0].totals) == pytest.approx(expected)


async def test_equal_totals_keep_the_order_of_the_list(connection: Connection) -> None:
    given = nbest(("a", 0.0), ("b", 0.0), ("a", 0.0))
    weights = [wire.RescoreWeights(lm_weight=0.0)]
    [answer] = (await connection.stub.Rescore(request(given, weights=weights))).lists

    assert list(answer.rankings[0].order) == [0, 1, 2]


async def test_context_of_a_list_conditions_its_hypotheses_only(connection: Connection) -> None:
    lists = [nbest(("b", 0.0), context="a"), nbest(("b", 0.0), context="b"), nbest(("b", 0.0))]
    response = await connection.stub.Rescore(request(*lists, weights=[wire.RescoreWeights()]))

    log_probs = [answer.log_probs[0] for answer in response.lists]
    expected = [math.log(p) for p in (0.5 * 0.5, 5 / 8 * 0.3 * 0.5, 2 / 3 * 0.3 * 0.5)]
    assert log_probs == pytest.approx(expected, abs=1e-5)


async def test_a_bad_list_has_its_own_error(connection: Connection) -> None:
    bad = nbest(("a", float("nan")), id_="bad")
    lists = [nbest(("a", 0.0)), bad, wire.NBestList(id="empty"), nbest(("b", 0.0), id_="v")]
    response = await connection.stub.Rescore(request(*lists, weights=[wire.RescoreWeights()]))

    assert [answer.id for answer in response.lists] == ["u", "bad", "empty", "v"]
    assert [answer.error.field for answer in response.lists] == [
        "",
        "lists[1].hypotheses[0].features[0]",
        "lists[2].hypotheses",
        "",
    ]
    assert [len(answer.log_probs) for answer in response.lists] == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("weights", "field"),
    [
        ([], "weights"),
        ([wire.RescoreWeights(lm_weight=math.nan)], "weights[0].lm_weight"),
        (
            [wire.RescoreWeights(), wire.RescoreWeights(oov_penalty=math.inf)],
            "weights[1].oov_penalty",
        ),
        ([wire.RescoreWeights(length_bonus=1e308)], "weights[0].length_bonus"),
        ([wire.RescoreWeights()] * 1001, "weights"),
        ([wire.RescoreWeights(feature_weights={"x": 1.0})], "weights[0].feature_weights[x]"),
        (
            [wire.RescoreWeights(feature_weights={"acoustic": math.nan})],
            "weights[0].feature_weights[acoustic]",
        ),
    ],
)
async def test_bad_weights_are_refused_by_name(
    connection: Connection, weights: list[wire.RescoreWeights], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await connection.stub.Rescore(request(nbest(("a", 0.0)), weights=weights))

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.fields == [field]


async def test_a_long_context_is_read_once_for_all_hypotheses(connection: Connection) -> None:
    texts = ["a b"] * 2000
    given = nbest(*((text, 0.0) for text in texts), context="b " * 200_000 + "a")
    short = nbest(("a b", 0.0), context="a")
    plain = nbest(("a b", 0.0), id_="plain")
    response = await connection.stub.Rescore(
        request(given, plain, short, weights=[wire.RescoreWeights()])
    )

    long, without, with_short = response.lists
    assert set(long.log_probs) == set(with_short.log_probs)  # a bigram model sees one word
    assert without.log_probs[0] != with_short.log_probs[0]
    assert len(long.rankings[0].order) == 2000


async def test_an_answer_that_could_not_be_sent_is_refused_at_once(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa, max_message_bytes=2048)) as connection:
        given = nbest(*(("a", 0.0) for _ in range(50)))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await connection.stub.Rescore(request(given, weights=[wire.RescoreWeights()] * 20))

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.fields == ["weights"]
