"""Ranks, entropies and likeliest tokens, against NumPy on the whole distributions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models import distribution
from lmscore.models.distribution import event_details, predict
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts, TokenSequences
from lmscore.models.loading import load_model

FIXTURES = Path(__file__).parent / "kenlm/fixtures"
MODELS = ["plain.arpa", "plain.probing.bin", "plain.trie.bin"]


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> LanguageModel[Any]:
    return load_model(FIXTURES / request.param)


def words_of(model: LanguageModel[Any]) -> list[str]:
    return model.vocabulary.tokens(range(len(model.vocabulary)))


def some_texts(model: LanguageModel[Any], seed: int, count: int) -> Texts:
    words = [word for word in words_of(model) if not word.startswith("<")] + ["unheard-of"]
    random = np.random.default_rng(seed)
    return Texts.from_strings(
        [" ".join(random.choice(words, random.integers(0, 9))) for _ in range(count)]
    )


@given(seed=st.integers(0, 1000), k=st.integers(1, 5), bos=st.booleans())
def test_predictions_are_the_head_of_the_distribution(
    model: LanguageModel[Any], seed: int, k: int, bos: bool
) -> None:
    prompts = some_texts(model, seed, 4)
    predicted = predict(model, prompts, k, bos=bos)

    log_probs = model.next_log_probs(model.read(prompts, bos=bos))
    for row, expected in enumerate(log_probs):
        order = np.argsort(-expected, kind="stable")[:k]  # stable: equal ones by id
        possible = expected[expected > -np.inf]
        assert predicted.top_ids[row].tolist() == order.tolist()
        assert predicted.top_log_probs[row].tolist() == expected[order].tolist()
        assert predicted.entropies[row] == pytest.approx(-np.sum(np.exp(possible) * possible))


def test_reading_a_text_is_advancing_over_its_tokens(model: LanguageModel[Any]) -> None:
    texts = some_texts(model, 1, 30)
    tokens = model.tokenize(texts)
    read = model.next_log_probs(model.read(texts))
    for text in range(len(texts)):
        state = model.initial_state(1)
        for token in tokens.token_ids[tokens.offsets[text] : tokens.offsets[text + 1]]:
            state = model.advance(state, np.array([token]))
        np.testing.assert_array_equal(model.next_log_probs(state)[0], read[text])


@pytest.mark.parametrize("contexts", [None, 1, 12])
def test_details_are_those_of_the_distribution_where_the_event_stands(
    model: LanguageModel[Any], contexts: int | None
) -> None:
    batch = ScoreBatch(
        some_texts(model, 2, 12),
        contexts=None if contexts is None else some_texts(model, 3, contexts),
        per_token=True,
    )
    events = model.score(batch).tokens
    assert events is not None
    details = event_details(model, batch, events, 3)

    begins = model.states_before(batch)
    for item in range(len(batch.items)):
        state = begins[[item]]
        for event in range(events.offsets[item], events.offsets[item + 1]):
            [expected] = model.next_log_probs(state)
            token = events.token_ids[event]
            assert expected[token] == pytest.approx(events.log_probs[event], abs=1e-5)
            assert details.ranks[event] == 1 + np.count_nonzero(expected > expected[token])
            top = np.argsort(-expected, kind="stable")[:3]
            assert details.distributions.top_ids[event].tolist() == top.tolist()
            state = model.advance(state, np.array([token]))


def test_chunks_do_not_change_the_details(
    model: LanguageModel[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ScoreBatch(some_texts(model, 4, 20), per_token=True)
    events = model.score(batch).tokens
    assert events is not None
    whole = event_details(model, batch, events, 4)
    monkeypatch.setattr(distribution, "MAX_DISTRIBUTION_VALUES", 1)
    in_pieces = event_details(model, batch, events, 4)

    np.testing.assert_array_equal(whole.ranks, in_pieces.ranks)
    for one, other in zip(
        whole.distributions.arrays(), in_pieces.distributions.arrays(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_asking_for_more_than_there_is_gives_all_but_bos(model: LanguageModel[Any]) -> None:
    predicted = predict(model, Texts.from_strings([""]), 10**6)

    assert predicted.top_ids.shape == (1, len(model.vocabulary) - 1)
    assert model.vocabulary.bos_id not in predicted.top_ids
    assert np.exp(predicted.top_log_probs).sum() == pytest.approx(1.0, abs=1e-4)


def test_worked_example_by_hand(tiny_arpa: Path) -> None:
    model = load_model(tiny_arpa)
    predicted = predict(model, Texts.from_strings(["a"]), 4)

    probabilities = {"b": 0.5, "a": 5 / 7 * 0.4, "</s>": 5 / 7 * 0.2, "<unk>": 5 / 7 * 0.1}
    assert model.vocabulary.tokens(predicted.top_ids[0].tolist()) == list(probabilities)
    assert np.exp(predicted.top_log_probs[0]) == pytest.approx(
        list(probabilities.values()), abs=1e-5
    )
    entropy = -math.fsum(p * math.log(p) for p in probabilities.values())
    assert predicted.entropies[0] == pytest.approx(entropy, abs=1e-5)


def test_nothing_to_describe_is_no_error(tiny_arpa: Path) -> None:
    model = load_model(tiny_arpa)
    empty = TokenSequences(np.empty(0, np.int64), np.zeros(1, np.int64))
    batch = ScoreBatch(empty, per_token=True)
    events = model.score(batch).tokens
    assert events is not None

    assert event_details(model, batch, events, 3).ranks.size == 0
