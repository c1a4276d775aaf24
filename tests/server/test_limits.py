"""What is exactly at a limit is done; one more is refused, and its field named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.decoding.parameters import Beam, Decoding, Greedy, Sampling, Strategy
from lmscore.models.error_detection.checking import MAX_RESCORED_BYTES
from lmscore.models.language_model import LanguageModel, Texts
from lmscore.models.loading import load_model
from lmscore.server.convert.detect import _beyond_budget, detect_work
from lmscore.server.convert.generate import GenerateWork, GenerationLimits, generate_work
from lmscore.server.convert.items import Limits, token_count
from lmscore.server.convert.predict import predict_work
from lmscore.server.convert.rescore import MAX_MAGNITUDE, rescore_work
from lmscore.server.convert.score import score_work
from lmscore.server.convert.score_request import score_request
from lmscore.server.convert.tokenize import tokenize_work
from lmscore.server.errors import InvalidFieldError
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire
from tests.server.generating import byte_network, character_network

LIMITS = Limits(*[10**6] * 6)
OWN = GenerationLimits(*[10**6] * 5)
FULL, TOKENS = wire.SCORE_DETAIL_FULL, wire.SCORE_DETAIL_TOKENS
Work = Callable[[Any, Limits, LanguageModel[Any]], Any]


@pytest.fixture(scope="module")
def model(tiny_arpa: Path) -> LanguageModel[Any]:
    return load_model(tiny_arpa)


def generate(request: wire.GenerateRequest, limits: Limits, model: LanguageModel[Any]) -> Any:
    return generate_work(request, limits, OWN, model.vocabulary)


def predict(request: wire.PredictRequest, limits: Limits, model: LanguageModel[Any]) -> Any:
    return predict_work(request, limits, model.vocabulary)


def score(request: wire.ScoreRequest, limits: Limits, model: LanguageModel[Any]) -> Any:
    return score_work(score_request(request.SerializeToString()), limits, model)


def detect(request: wire.DetectErrorsRequest, limits: Limits, model: LanguageModel[Any]) -> Any:
    return detect_work(request, limits, ServedModel("tiny", 1, "", model))


def rescore(request: wire.RescoreRequest, limits: Limits, _model: LanguageModel[Any]) -> Any:
    return rescore_work(request, limits)


def score_of(**fields: Any) -> wire.ScoreRequest:
    return wire.ScoreRequest(**({"texts": ["a b", "b"]} | fields))


def of_ids(*sequences: list[int], **fields: Any) -> wire.ScoreRequest:
    messages = [wire.TokenSequence(ids=ids) for ids in sequences or ([2], [2, 3])]
    return wire.ScoreRequest(token_sequences=messages, **fields)


def rescore_of(*lists: list[str], weights: int = 1, **fields: Any) -> wire.RescoreRequest:
    settings = [wire.RescoreWeights()] * weights
    messages = [
        wire.NBestList(hypotheses=[wire.Hypothesis(text=text) for text in texts], **fields)
        for texts in lists
    ]
    return wire.RescoreRequest(lists=messages, weights=settings)


WHOLE = [  # a request, how much it takes of a limit, and the field that says so
    (score, score_of(), "max_texts", 2, "texts"),
    (score, of_ids(), "max_texts", 2, "token_sequences"),
    (score, score_of(context="aü"), "max_text_bytes", 3, "context"),
    (score, score_of(detail=FULL, alternatives=3), "max_alternatives", 3, "alternatives"),
    (score, score_of(detail=FULL), "max_alternatives", 5, "alternatives"),
    (score, score_of(detail=FULL), "max_distributions", 3 + 2, "detail"),
    (score, score_of(detail=FULL, eos=False), "max_distributions", 3, "detail"),
    (score, of_ids(detail=FULL), "max_distributions", 3 + 2, "detail"),
    (score, score_of(detail=TOKENS), "max_reply_bytes", 5 * 30 + 4, "detail"),
    (score, of_ids(detail=TOKENS), "max_reply_bytes", 5 * 30 + 3, "detail"),
    (score, score_of(words=True), "max_reply_bytes", 5 * (30 + 30) + 2 * 4, "detail"),
    (
        score,
        score_of(detail=FULL, words=True, alternatives=2),
        "max_reply_bytes",
        5 * (30 + 2 * 30 + 30) + 2 * 4,
        "detail",
    ),
    (  # there are no more than five tokens
        score,
        score_of(detail=FULL, alternatives=9),
        "max_reply_bytes",
        5 * (30 + 5 * 30) + 4,
        "detail",
    ),
    (predict, wire.PredictRequest(prompts=["", "a", "b"]), "max_texts", 3, "prompts"),
    (predict, wire.PredictRequest(prompts=["", "a", "b"]), "max_distributions", 3, "prompts"),
    (predict, wire.PredictRequest(prompts=[""]), "max_alternatives", 10, "top_k"),
    (predict, wire.PredictRequest(prompts=[""], top_k=2), "max_alternatives", 2, "top_k"),
    (
        predict,
        wire.PredictRequest(prompts=["", "a"], top_k=3),
        "max_reply_bytes",
        2 * 3 * 30,
        "top_k",
    ),
    (predict, wire.PredictRequest(prompts=["", "a"]), "max_reply_bytes", 2 * 5 * 30, "top_k"),
    (tokenize_work, wire.TokenizeRequest(texts=["a b", "b"]), "max_texts", 2, "texts"),
    (
        tokenize_work,
        wire.TokenizeRequest(texts=["a b", "ü"]),
        "max_reply_bytes",
        3 * 30 + 5,
        "texts",
    ),
    (detect, wire.DetectErrorsRequest(texts=["a", "b"], threshold=1), "max_texts", 2, "texts"),
    (
        detect,
        wire.DetectErrorsRequest(texts=["a"], threshold=1),
        "max_alternatives",
        5,
        "alternatives",
    ),
    (rescore, rescore_of(["a", "b"], ["a"]), "max_texts", 3, "lists: hypotheses"),
    (rescore, rescore_of(["a"], weights=4), "max_weights", 4, "weights"),
    (
        rescore,
        rescore_of(["a", "b"], ["a"], weights=2),
        "max_reply_bytes",
        3 * (16 + 2 * 11) + 2 * 2 * 12,
        "weights",
    ),
    (generate, wire.GenerateRequest(prompt="üa"), "max_text_bytes", 3, "prompt"),
    (generate, wire.GenerateRequest(alternatives=4), "max_alternatives", 4, "alternatives"),
]


@pytest.mark.parametrize(("work", "request_", "limit", "taken", "field"), WHOLE)
def test_a_request_may_take_all_of_a_limit_and_no_more(
    model: LanguageModel[Any], work: Work, request_: Any, limit: str, taken: int, field: str
) -> None:
    work(request_, replace(LIMITS, **{limit: taken}), model)

    with pytest.raises(InvalidFieldError) as refused:
        work(request_, replace(LIMITS, **{limit: taken - 1}), model)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("request_", "limit", "taken", "field"),
    [
        (wire.GenerateRequest(num_sequences=3), "max_num_sequences", 3, "num_sequences"),
        (wire.GenerateRequest(beam=wire.Beam(width=4)), "max_beam_width", 4, "beam.width"),
        (wire.GenerateRequest(max_tokens=9), "max_tokens", 9, "max_tokens"),
        (wire.GenerateRequest(stop_strings=["ü", "a"]), "max_stop_bytes", 3, "stop_strings"),
        (wire.GenerateRequest(stop_token_ids=[3, 4]), "max_listed_tokens", 2, "stop_token_ids"),
        (wire.GenerateRequest(banned_token_ids=[3]), "max_listed_tokens", 1, "banned_token_ids"),
    ],
)
def test_a_generation_may_take_all_of_a_limit_and_no_more(
    model: LanguageModel[Any], request_: wire.GenerateRequest, limit: str, taken: int, field: str
) -> None:
    generate_work(request_, LIMITS, replace(OWN, **{limit: taken}), model.vocabulary)

    with pytest.raises(InvalidFieldError) as refused:
        generate_work(request_, LIMITS, replace(OWN, **{limit: taken - 1}), model.vocabulary)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("work", "request_"),
    [
        (score, score_of(texts=["ab", "abü", "üü", "abcde", ""])),
        (score, of_ids([2, 2], [2] * 4, [3] * 4, [2] * 5, [])),
        (predict, wire.PredictRequest(prompts=["ab", "abü", "üü", "abcde", ""])),
        (detect, wire.DetectErrorsRequest(texts=["ab", "abü", "üü", "abcde", ""], threshold=1)),
        (rescore, rescore_of(["ab"], ["a", "abü"], ["üü"], ["a", "abcde"], [""])),
    ],
)
def test_of_many_texts_those_over_the_limit_alone_have_an_error(
    model: LanguageModel[Any], work: Work, request_: Any
) -> None:
    errors = work(request_, replace(LIMITS, max_text_bytes=4), model).errors

    assert list(errors) == [3]
    assert isinstance(errors[3], InvalidFieldError)
    assert "[3]" in errors[3].field


def test_numbers_may_be_as_large_as_their_sums_can_bear(model: LanguageModel[Any]) -> None:
    for most, allowed in ((MAX_MAGNITUDE, True), (math.nextafter(MAX_MAGNITUDE, math.inf), False)):
        for number in (most, -most):
            request = rescore_of(["a"])
            request.feature_names.append("x")
            request.lists[0].hypotheses[0].features.append(number)
            assert (not rescore(request, LIMITS, model).errors) == allowed


@given(st.lists(st.sampled_from([0, 1, MAX_RESCORED_BYTES // 2, MAX_RESCORED_BYTES, 1 << 30])))
def test_texts_are_checked_as_long_as_there_is_room_for_them(costs: list[int]) -> None:
    over = _beyond_budget(np.array(costs, np.int64))

    kept: list[int] = []
    for cost, left_out in zip(costs, over, strict=True):
        assert left_out == (sum(kept) + cost > MAX_RESCORED_BYTES)
        kept += [] if left_out else [cost]


@pytest.mark.parametrize(
    ("network", "tokens"),
    [(character_network, len), (byte_network, lambda text: len(text.encode()))],
)
@given(strings=st.lists(st.text(st.sampled_from("a büé一🙂"))))
def test_tokens_are_counted_without_splitting_texts(
    network: Callable[[], LanguageModel[Any]], tokens: Callable[[str], int], strings: list[str]
) -> None:
    assert token_count(network(), Texts.from_strings(strings), 0) == sum(map(tokens, strings))


@pytest.mark.parametrize(
    ("fields", "strategy", "settings"),
    [
        ({}, Greedy(), {"max_tokens": 128}),
        ({"sampling": {}}, Sampling(), {"max_tokens": 128}),
        ({"beam": {"width": 3}}, Beam(3, 0.0, 1), {"max_tokens": 128}),
        ({"beam": {"width": 3, "num_results": 2}}, Beam(3, 0.0, 2), {"max_tokens": 128}),
        (
            {"sampling": {"temperature": 0.5, "top_k": 7, "top_p": 0.25, "min_p": 0.125}},
            Sampling(0.5, 7, 0.25, 0.125),
            {"max_tokens": 128},
        ),
        (
            {"max_tokens": 500, "min_tokens": 2, "repetition_penalty": 1.5, "num_sequences": 2},
            Greedy(),
            {"max_tokens": 500, "min_tokens": 2, "repetition_penalty": 1.5, "num_sequences": 2},
        ),
        (
            {"stop_strings": ["ü"], "stop_token_ids": [2], "banned_token_ids": [3, 4]},
            Greedy(),
            {"stop_strings": ("ü".encode(),), "stop_token_ids": (2,), "banned_token_ids": (3, 4)},
        ),
        ({"alternatives": 40}, Greedy(), {"alternatives": 5}),  # there are no more tokens
    ],
)
def test_settings_of_a_generation_are_those_given_or_else_the_defaults(
    model: LanguageModel[Any], fields: dict[str, Any], strategy: Strategy, settings: dict[str, Any]
) -> None:
    work = generate(wire.GenerateRequest(prompt="a", seed=9, **fields), LIMITS, model)

    assert work.settings == Decoding(strategy, seed=9, **settings)
    assert (work.prompt, work.bos, work.seed) == ("a", True, 9)


@pytest.mark.parametrize("told", [None, False, True])
def test_texts_begin_and_end_unless_told_otherwise(
    model: LanguageModel[Any], *, told: bool | None
) -> None:
    expected = True if told is None else told
    scored = score(score_of(bos=told, eos=told), LIMITS, model).batch
    checked = wire.DetectErrorsRequest(texts=["a"], threshold=1, bos=told, eos=told)
    detected = detect(checked, LIMITS, model).batch

    assert (scored.bos, scored.eos, detected.bos, detected.eos) == (expected,) * 4
    assert predict(wire.PredictRequest(prompts=[""], bos=told), LIMITS, model).bos == expected
    assert generate(wire.GenerateRequest(bos=told), LIMITS, model).bos == expected


def test_a_generation_is_no_longer_than_the_server_allows(model: LanguageModel[Any]) -> None:
    work: GenerateWork = generate_work(
        wire.GenerateRequest(bos=False), LIMITS, replace(OWN, max_tokens=50), model.vocabulary
    )

    assert work.settings.max_tokens == 50
    assert not work.bos
    assert work.settings.seed == work.seed


@pytest.mark.parametrize(("alternatives", "tokens"), [(0, 655), (1, 504), (3, 344), (10**5, 1)])
def test_a_message_holds_as_many_tokens_as_fit_into_it(
    model: LanguageModel[Any], alternatives: int, tokens: int
) -> None:
    work = generate(wire.GenerateRequest(alternatives=alternatives), LIMITS, model)

    assert work.message_tokens == tokens  # 2^16 bytes, of which each takes 100 and 30 each
