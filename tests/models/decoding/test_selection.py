"""What is chosen from a row, against NumPy by sorting and against worked examples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.decoding.cuts import _narrow
from lmscore.models.decoding.parameters import Sampling
from lmscore.models.decoding.selection import Changes, IdLists, _draw
from lmscore.models.decoding.weights import Scratch, exp_of_negative
from tests.models.decoding.choosing import (
    choose,
    expected_probs,
    kept,
    no_changes,
    support,
)

LOGITS = np.array([3, 2, 1.5, 1.2, 0.8, 0.4, 0.1])


@st.composite
def rows_with_ties(
    draw: st.DrawFn, sizes: tuple[int, ...] = (1, 2, 7, 63, 64, 65, 200, 1000)
) -> NDArray[np.float64]:
    """A few rows of log-probabilities, some equal, some impossible, of any number of blocks."""
    seed = draw(st.integers(0, 2**32 - 1))
    size = draw(st.sampled_from(sizes))
    step = draw(st.sampled_from([0.0, 0.01, 0.5, 3.0]))  # to which values are rounded
    random = np.random.default_rng(seed)
    values = random.normal(0, draw(st.sampled_from([0.0, 0.3, 3.0, 30.0])), (3, size))
    if step:
        values = np.round(values / step) * step
    values[random.random(values.shape) < draw(st.sampled_from([0.0, 0.3, 0.9]))] = -np.inf
    values[np.arange(3), random.integers(0, size, 3)] = 0.1  # something is possible
    log_probs: NDArray[np.float64] = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    return log_probs


samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.05, 0.7, 1.0, 2.5, 50.0]),
    top_k=st.sampled_from([None, 1, 2, 3, 10, 40, 100, 900, 10**6]),
    top_p=st.sampled_from([1.0, 0.999, 0.9, 0.5, 0.1, 1e-9]),
    min_p=st.sampled_from([0.0, 1e-6, 0.05, 0.5, 1.0]),
)


def assert_drawn_from(token: int, probs: NDArray[np.float64], uniform: float) -> None:
    """The token is where the sum exceeds the number, give or take rounding."""
    mass = np.cumsum(probs)
    assert probs[token] > 0
    assert mass[token] >= uniform * mass[-1] - 1e-12
    assert mass[token] - probs[token] <= uniform * mass[-1] + 1e-12


@settings(max_examples=200)
@given(rows_with_ties(sizes=(1, 2, 7, 63, 64, 65, 200)), samplings, st.integers(0, 2**32 - 1))
def test_choice_is_that_of_sorting(
    log_probs: NDArray[np.float64], sampling: Sampling, seed: int
) -> None:
    assert_chosen_as_by_sorting(log_probs, sampling, seed)


@settings(max_examples=100)
@given(rows_with_ties(sizes=(1000, 5000)), samplings, st.integers(0, 2**32 - 1))
def test_choice_from_many_tokens_is_that_of_sorting(
    log_probs: NDArray[np.float64], sampling: Sampling, seed: int
) -> None:
    assert_chosen_as_by_sorting(log_probs, sampling, seed)


def assert_chosen_as_by_sorting(
    log_probs: NDArray[np.float64], sampling: Sampling, seed: int
) -> None:
    uniforms = np.random.default_rng(seed).random(len(log_probs))
    tokens = choose(log_probs, sampling, uniforms)

    for row, token, uniform in zip(log_probs, tokens, uniforms, strict=True):
        probs = expected_probs(row, sampling)
        if _is_close_to_a_boundary(row, sampling):
            continue
        assert_drawn_from(token, probs, uniform)


def _is_close_to_a_boundary(row: NDArray[np.float64], sampling: Sampling) -> bool:
    """Rounding decides which tokens are kept."""
    looser, stricter = (
        Sampling(
            sampling.temperature,
            sampling.top_k,
            min(1.0, sampling.top_p * (1 + sign * 1e-11)),
            min(1.0, sampling.min_p * (1 - sign * 1e-11)),
        )
        for sign in (1, -1)
    )
    return bool(((expected_probs(row, looser) > 0) != (expected_probs(row, stricter) > 0)).any())


@settings(max_examples=100)
@given(rows_with_ties(sizes=(1, 7, 64, 65, 200)), samplings, st.integers(0, 2**32 - 1))
def test_single_precision_rows_are_chosen_from_as_their_values_are(
    log_probs: NDArray[np.float64], sampling: Sampling, seed: int
) -> None:
    single = log_probs.astype(np.float32)
    uniforms = np.random.default_rng(seed).random(len(log_probs))

    tokens = choose(single, sampling, uniforms)

    assert (tokens == choose(single.astype(np.float64), sampling, uniforms)).all()


@given(rows_with_ties(), samplings.filter(lambda sampling: sampling.top_k != 1))
def test_what_is_kept_is_what_sorting_keeps_in_the_same_proportions(
    log_probs: NDArray[np.float64], sampling: Sampling
) -> None:
    assert_kept_as_by_sorting(log_probs[0], sampling)


@pytest.mark.parametrize("spread", [0.01, 1.0, 8.0])
@pytest.mark.parametrize("sampling", [{"top_k": 600}, {"top_p": 0.6}, {"top_p": 0.99}])
def test_of_more_tokens_than_are_taken_out_at_once_the_right_ones_are_kept(
    spread: float, sampling: dict[str, Any]
) -> None:
    values = np.random.default_rng(6).normal(0, spread, 2500)
    log_probs = values - np.log(np.exp(values).sum())

    assert_kept_as_by_sorting(log_probs, Sampling(**sampling))


def assert_kept_as_by_sorting(log_probs: NDArray[np.float64], sampling: Sampling) -> None:
    if not _is_close_to_a_boundary(log_probs, sampling):
        weights = kept(log_probs, sampling)
        np.testing.assert_allclose(
            weights / weights.sum(), expected_probs(log_probs, sampling), rtol=1e-11, atol=1e-300
        )


@given(rows_with_ties(), st.floats(0, 1, exclude_max=True))
def test_top_k_of_one_is_the_first_of_the_likeliest(
    log_probs: NDArray[np.float64], uniform: float
) -> None:
    tokens = choose(log_probs, Sampling(top_k=1), np.full(len(log_probs), uniform))

    assert tokens.tolist() == log_probs.argmax(axis=1).tolist()


@given(rows_with_ties(), st.sampled_from([0, 10**9]), st.integers(0, 2**32 - 1))
def test_filters_that_keep_everything_change_nothing(
    log_probs: NDArray[np.float64], top_k: int, seed: int
) -> None:
    uniforms = np.random.default_rng(seed).random(len(log_probs))

    tokens = choose(log_probs, Sampling(1.0, top_k, 1.0, 0.0), uniforms)

    for row, token, uniform in zip(log_probs, tokens, uniforms, strict=True):
        assert_drawn_from(token, np.exp(row), uniform)


@given(st.integers(0, 2**32 - 1), st.floats(1e-2, 1e2))
def test_no_temperature_changes_the_order(seed: int, temperature: float) -> None:
    log_probs = np.random.default_rng(seed).normal(0, 2, (1, 300))
    log_probs -= np.log(np.exp(log_probs).sum())
    order = np.argsort(-log_probs[0])

    for k in (2, 4, 8):
        likeliest = support(log_probs[0], Sampling(temperature, k))
        assert likeliest <= set(order[:k].tolist())
        assert order[0] in likeliest


@pytest.mark.parametrize("temperature", [1e9, 1e16, 1e300])
@pytest.mark.parametrize("sampling", [{"top_k": 50}, {"top_p": 0.25}])
def test_the_highest_temperatures_still_keep_the_likeliest(
    temperature: float, sampling: dict[str, Any]
) -> None:
    values = np.random.default_rng(3).normal(0, 3, 200)
    log_probs = values - np.log(np.exp(values).sum())

    likeliest = support(log_probs, Sampling(temperature, **sampling))

    assert likeliest == set(np.argsort(-log_probs)[:50].tolist())


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-12])
def test_a_temperature_next_to_zero_is_greedy(temperature: float) -> None:
    log_probs = np.log(np.array([[0.2, 0.4, 0.1, 0.3]]))

    assert choose(log_probs, Sampling(temperature), np.array([0.999])).tolist() == [1]


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, (0.50, 0.18, 0.11)), (2.0, (0.30, 0.18, 0.14)), (0.1, (1.0,))],
)
def test_worked_example_of_temperature(temperature: float, expected: tuple[float, ...]) -> None:
    weights = kept(LOGITS, Sampling(temperature))

    shares = (weights / weights.sum())[: len(expected)]
    assert shares == pytest.approx(expected, abs=0.006)


def test_worked_example_of_top_k() -> None:
    log_probs = np.tile(np.log([0.5, 0.3, 0.15, 0.05]), (1000, 1))

    tokens = choose(log_probs, Sampling(top_k=2), (np.arange(1000) + 0.5) / 1000)

    assert np.bincount(tokens).tolist() == [625, 375]


@pytest.mark.parametrize(
    ("logits", "kept"),
    [((10, 1, 0.5, 0.1, 0, 0, 0), 1), ((2, 1.8, 1.6, 1.4, 1.2, 1, 0.8), 6)],
)
def test_worked_example_of_the_nucleus(logits: tuple[float, ...], kept: int) -> None:
    assert support(np.array(logits, float), Sampling(top_p=0.9)) == set(range(kept))


def test_of_equally_likely_tokens_the_lower_ids_are_kept() -> None:
    uniform = np.full(1000, -math.log(1000))

    assert support(uniform, Sampling(top_k=3)) == {0, 1, 2}
    assert support(uniform, Sampling(top_k=100)) == set(range(100))
    assert support(uniform, Sampling(top_p=0.0095)) == set(range(10))
    assert support(uniform[:128], Sampling(top_k=2)) == {0, 1}  # blocks that are full


@given(
    exponents=st.lists(st.integers(1, 8), min_size=50, max_size=90),
    seed=st.integers(0, 2**32 - 1),
    by_count=st.booleans(),
)
def test_what_is_left_after_narrowing_holds_the_threshold(
    exponents: list[int], seed: int, *, by_count: bool
) -> None:
    weights = np.sort(0.5 ** np.array(exponents))[::-1]  # so that halves fall onto them
    reached = np.cumsum(np.ones(len(weights)) if by_count else weights)
    place = int(np.random.default_rng(seed).integers(len(weights)))
    values = weights[np.random.default_rng(seed).permutation(len(weights))]

    size, above = _narrow(values, len(values), 0.5**8, 1.0, 0.0, reached[place], by_count)

    left = np.sort(values[:size])[::-1]
    begin = int((weights > left[0]).sum())
    assert left.tolist() == weights[begin : begin + size].tolist()
    assert above == (reached[begin - 1] if begin else 0.0)
    assert begin <= place < begin + size


@pytest.mark.parametrize("depth", [4.0, 8.0])
def test_a_token_on_a_bound_of_the_search_is_counted_once(depth: float) -> None:
    row = np.full(128, -np.inf)
    row[[0, 64, 1, 2]] = 0.0, -depth, -depth - 2, -depth - 3  # one is alone in its block
    weights = np.exp(row)
    most = (weights[[0, 64]].sum() + weights[1] / 2) / weights.sum()

    assert support(row, Sampling(top_k=3)) == {0, 64, 1}
    assert support(row, Sampling(top_p=most)) == {0, 64, 1}


@pytest.mark.parametrize("top_k", [None, 100, 1000])
def test_without_a_filter_even_what_is_next_to_impossible_is_kept(top_k: int | None) -> None:
    assert support(np.linspace(0, -600, 100), Sampling(top_k=top_k)) == set(range(100))


def changes(
    rows: int, seen: list[int], banned: list[int], ends: list[int], *, penalty: float, early: bool
) -> Changes:
    def lists(ids: list[int]) -> IdLists:
        return IdLists(np.tile(np.array(ids, np.int64), (rows, 1)), np.full(rows, len(ids)))

    return Changes(
        np.full(rows, penalty), lists(seen), lists(banned), lists(ends), np.full(rows, early)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(
    seed=st.integers(0, 2**32 - 1), penalty=st.sampled_from([0.5, 1.0, 1.7]), early=st.booleans()
)
def test_penalty_and_bans_come_before_all_filters(
    dtype: type[np.floating], seed: int, penalty: float, early: bool
) -> None:
    random = np.random.default_rng(seed)
    row = random.normal(-1, 2, 90).astype(dtype)  # logits: some are above 0
    seen, banned, ends = (random.permutation(90)[:9].tolist() for _ in range(3))
    adjusted, values = row.copy(), row[seen].astype(np.float64)
    adjusted[seen] = np.where(values > 0, values / penalty, values * penalty)  # rounded once
    adjusted[banned] = -np.inf
    if early:
        adjusted[ends] = -np.inf
    uniforms = random.random(20)
    sampling = Sampling(0.8, 30, 0.9, 0.01)

    tokens = choose(
        np.tile(row, (20, 1)),
        sampling,
        uniforms,
        changes(20, seen, banned, ends, penalty=penalty, early=early),
    )

    if _is_close_to_a_boundary(adjusted, sampling):
        return
    probs = expected_probs(adjusted, sampling)
    for token, uniform in zip(tokens, uniforms, strict=True):
        assert_drawn_from(token, probs, uniform)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_k=1), Sampling(top_k=2, top_p=0.9)])
def test_nothing_is_chosen_where_nothing_is_possible(sampling: Sampling) -> None:
    log_probs = np.full((2, 100), -np.inf)
    log_probs[1, 70] = 0.0
    banned = changes(2, [], [70], [], penalty=1, early=False)
    uniforms = np.array([0.5, 0.5])

    assert choose(log_probs, sampling, uniforms).tolist() == [-1, 70]
    assert choose(log_probs, sampling, uniforms, banned).tolist() == [-1, -1]


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2.0**-53])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_k=5), Sampling(top_p=0.7)])
def test_the_ends_of_the_unit_interval_give_possible_tokens(
    uniform: float, sampling: Sampling
) -> None:
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.full(700, 0.1), 40) + 1e-300)
    log_probs[:, [0, -1]] = -np.inf

    tokens = choose(log_probs, sampling, np.full(40, uniform), no_changes(40))

    assert (log_probs[np.arange(40), tokens] > -np.inf).all()


@kernel  # compiled loops alone can call it
def draw_of(scratch: Scratch, goal: float) -> Any:
    return _draw(scratch, goal)


@pytest.mark.parametrize(("goal", "token"), [(0.0, 3), (0.4, 3), (0.5, 70), (0.7, 70), (0.75, 70)])
def test_a_goal_that_rounding_made_too_high_is_reached_by_the_last_token(
    goal: float, token: int
) -> None:
    scratch = Scratch.of(200)
    scratch.weights[[3, 70, 130]] = 0.5, 0.25, 0.5
    scratch.sums[:] = 0.5, 0.25, 0.0, 0.0  # the third block's do not count

    assert draw_of(scratch, goal) == token


@kernel  # compiled loops alone can call it
def exp_of_negative_of(x: float) -> Any:
    return exp_of_negative(x)


@given(st.floats(-700, 0))
def test_the_exponential_is_right_to_fourteen_digits(x: float) -> None:
    assert exp_of_negative_of(x) == pytest.approx(math.exp(x), rel=2e-14, abs=0)
