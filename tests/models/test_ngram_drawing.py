"""Words drawn without the whole distribution are those that the whole distribution gives."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmscore.models.decoding.batch import DecodingBatch
from lmscore.models.decoding.parameters import Beam, Decoding, Greedy, Sampling, Strategy
from lmscore.models.decoding.rows import NewSequence
from lmscore.models.language_model import Texts
from lmscore.models.loading import load_model
from lmscore.models.ngram import base_lists
from lmscore.models.ngram.model import NgramModel
from tests.models.backoff import random_backoff

TEMPERATURES = [0.25, 0.7, 1.0, 3.0, 1e9]


def model_of(seed: int, folder: Path, *, grid: int = 0) -> NgramModel:
    density = (0.1, 0.5, 0.9)[seed % 3]
    backoff = random_backoff(seed, order=seed % 4 + 1, words=12, density=density, grid=grid)
    loaded = load_model(backoff.write(folder / "model.arpa"))
    assert isinstance(loaded, NgramModel)
    return loaded


@pytest.fixture(autouse=True, scope="module", params=[1, 4])
def least_bytes(request: pytest.FixtureRequest) -> Iterator[None]:
    """All states with followers are bases, or some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_lists, "LEAST_BYTES", request.param)
        yield


@pytest.fixture(scope="module", params=range(4))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NgramModel:
    return model_of(request.param, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", params=range(4))
def exact_model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> NgramModel:
    """One in which single precision rounds nothing.

    Drawing adds up unigrams before back-offs and the distribution does not, so elsewhere one number
    in a million falls between the two.
    """
    return model_of(request.param, tmp_path_factory.mktemp("model"), grid=256)


def some_states(model: NgramModel, seed: int, count: int = 40) -> NDArray[np.uint32]:
    rng = np.random.default_rng(seed)
    words = [model.vocabulary.token(i) for i in range(len(model.vocabulary))]
    texts = [" ".join(rng.choice(words, rng.integers(0, 6))) for _ in range(count)]
    return model.read(Texts.from_strings(texts))


def some_excluded(model: NgramModel, seed: int, count: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    excluded = rng.integers(-1, len(model.vocabulary), (count, 4))
    return np.concatenate((excluded, np.full((count, 1), model.vocabulary.bos_id)), axis=1)


def left_of(
    model: NgramModel, states: NDArray[np.uint32], excluded: NDArray[np.int64]
) -> NDArray[np.float64]:
    log_probs = model.next_log_probs(states)
    for row, ids in zip(log_probs, excluded, strict=True):
        row[ids[ids >= 0]] = -np.inf
    return log_probs


@pytest.mark.parametrize("temperature", TEMPERATURES)
@given(seed=st.integers(0, 2**31))
def test_a_word_is_the_first_whose_sum_exceeds_the_number(
    model: NgramModel, temperature: float, seed: int
) -> None:
    states = some_states(model, seed)
    excluded = some_excluded(model, seed, len(states))
    numbers = np.random.default_rng(seed).random(len(states))

    words, log_probs = model.draw(states, np.full(len(states), temperature), excluded, numbers)

    left = left_of(model, states, excluded)
    whole = model.next_log_probs(states)
    for i, word in enumerate(words.tolist()):
        weights = np.exp((left[i] - left[i].max()) / temperature)
        sums = np.cumsum(weights)
        goal = numbers[i] * sums[-1]
        assert log_probs[i] == whole[i, word]
        assert weights[word] > 0
        assert sums[word] >= goal * (1 - 1e-5)
        assert sums[word] - weights[word] <= goal * (1 + 1e-5) + 1e-5 * sums[-1]


@given(seed=st.integers(0, 2**31))
def test_the_likeliest_word_is_that_of_the_distribution(model: NgramModel, seed: int) -> None:
    states = some_states(model, seed)
    excluded = some_excluded(model, seed, len(states))

    words, log_probs = model.draw(states, np.zeros(len(states)), excluded, np.zeros(len(states)))

    left = left_of(model, states, excluded)
    assert words.tolist() == left.argmax(axis=1).tolist()
    assert log_probs.tolist() == left.max(axis=1).tolist()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nothing_is_drawn_where_nothing_is_left(model: NgramModel, temperature: float) -> None:
    everything = np.arange(len(model.vocabulary))[None]
    words, log_probs = model.draw(
        model.initial_state(1), np.array([temperature]), everything, np.array([0.5])
    )
    assert words.tolist() == [-1]
    assert log_probs.tolist() == [-np.inf]


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_the_ends_of_the_numbers_give_the_first_and_the_last_word(
    model: NgramModel, number: float
) -> None:
    states = some_states(model, 7)
    excluded = np.full((len(states), 1), model.vocabulary.bos_id)
    words, _ = model.draw(states, np.ones(len(states)), excluded, np.full(len(states), number))
    for left, word in zip(left_of(model, states, excluded), words.tolist(), strict=True):
        possible = np.flatnonzero(left > -np.inf)
        assert word in possible
        beyond = np.exp(left[:word] if number == 0 else left[word + 1 :]).sum()
        assert beyond <= 1e-5 * np.exp(left).sum()


@given(seed=st.integers(0, 2**31))
def test_a_sum_that_rounding_leaves_too_small_gives_the_last_word(
    model: NgramModel, seed: int
) -> None:
    """No number is 1, but sums of other orders may end a little below the total."""
    states = some_states(model, seed)
    excluded = some_excluded(model, seed, len(states))
    first = np.random.default_rng(seed).integers(0, len(model.vocabulary), len(states))
    excluded = np.concatenate((excluded, first[:, None] + np.arange(1, 9)), axis=1)
    excluded[excluded >= len(model.vocabulary)] = -1

    words, _ = model.draw(states, np.ones(len(states)), excluded, np.ones(len(states)))

    for left, word in zip(left_of(model, states, excluded), words.tolist(), strict=True):
        assert word == max(np.flatnonzero(np.exp(left) > 0), default=-1)


def copy_of(model: NgramModel) -> NgramModel:
    """The same model, which has drawn nothing yet."""
    return NgramModel(
        model.entries,
        model.children,
        model.vocabulary,
        ngram_counts=model.ngram_counts,
        has_unknown=model.has_unknown,
    )


@given(seed=st.integers(0, 2**31))
def test_what_is_kept_changes_no_word(model: NgramModel, seed: int) -> None:
    states = some_states(model, seed)
    excluded = some_excluded(model, seed, len(states))
    rng = np.random.default_rng(seed)
    numbers, temperatures = rng.random(len(states)), rng.choice(TEMPERATURES, len(states))
    expected = model.draw(states, temperatures, excluded, numbers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_lists, "MOST_WORDS", int(rng.integers(0, 200)))
        patch.setattr(base_lists, "FIRST_WORDS", 1)
        patch.setattr(base_lists, "FIRST_LISTS", 1)
        forgetful = copy_of(model)
        found = [
            forgetful.draw(states[i : i + 1], temperatures[i : i + 1], excluded[i : i + 1], number)
            for i, number in enumerate(numbers[:, None])
        ]

    assert [word for words, _ in found for word in words] == expected[0].tolist()
    assert [log_prob for _, them in found for log_prob in them] == expected[1].tolist()


def test_threads_draw_what_one_draws(model: NgramModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_lists, "MOST_WORDS", 100)
    states = some_states(model, 3, count=400)
    excluded, numbers = some_excluded(model, 3, 400), np.random.default_rng(3).random(400)

    def draw(of: NgramModel) -> list[int]:
        found = [
            of.draw(states[i : i + 20], np.ones(20), excluded[i : i + 20], numbers[i : i + 20])
            for i in range(0, 400, 20)
        ]
        return [word for words, _ in found for word in words.tolist()]

    shared = copy_of(model)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(draw, [shared] * 8))
    assert answers == [draw(copy_of(model))] * 8


class Undrawn(NgramModel):
    """The same model, which computes every distribution."""

    draws = False


STRATEGIES: list[Strategy] = [
    Greedy(),
    Sampling(),
    Sampling(0.5),
    Sampling(top_k=3),
    Sampling(top_p=0.8),
    Sampling(0.1),
    Beam(3),
]


@given(st.lists(st.sampled_from(STRATEGIES), min_size=1, max_size=8), st.integers(0, 1000))
def test_texts_are_the_same_whether_words_are_drawn_or_selected(
    exact_model: NgramModel, strategies: list[Strategy], seed: int
) -> None:
    undrawn = Undrawn(
        exact_model.entries,
        exact_model.children,
        exact_model.vocabulary,
        ngram_counts=exact_model.ngram_counts,
        has_unknown=exact_model.has_unknown,
    )
    found = []
    for each in (exact_model, undrawn):
        batch = DecodingBatch(each)
        settings = [
            Decoding(strategy, max_tokens=6, min_tokens=i % 3)
            for i, strategy in enumerate(strategies)
        ]
        new = [NewSequence(setting, seed, i) for i, setting in enumerate(settings)]
        batch.add(each.initial_state(len(new)), new)
        steps = []
        while len(batch):
            result = batch.step()
            beams = {i: [h.token_ids for h in b] for i, b in result.beams.items()}
            columns = (result.sequence_ids, result.token_ids, result.log_probs, result.reasons)
            steps.append(([column.tolist() for column in columns], beams))
        found.append(steps)
    assert found[0] == found[1]


def test_a_real_text_is_drawn_as_it_is_selected() -> None:
    model = load_model(Path("checkpoints/demo/trigram.arpa.gz"))
    assert isinstance(model, NgramModel)
    assert model.draws
    batch = DecodingBatch(model)
    batch.add(
        model.read(Texts.from_strings(["the class"] * 200)),
        [NewSequence(Decoding(Sampling(0.8), max_tokens=1), 1, i) for i in range(200)],
    )
    words = batch.step().token_ids
    log_probs = model.next_log_probs(model.read(Texts.from_strings(["the class"])))[0]
    assert len(set(words.tolist())) > 20
    assert (log_probs[words] > -np.inf).all()
