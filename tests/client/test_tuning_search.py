"""Line searches and what they are made into, against every step and every choice there is."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscore.client import Hypothesis, NBestList, RescoredList
from lmscore.client.combination import CombinationWeights, combined
from lmscore.client.tuning.candidates import Candidates, Floats, candidates
from lmscore.client.tuning.line_search import Profile, profile
from lmscore.client.tuning.search import Space, descend, search, total_error

FEATURES = 3
few = settings(max_examples=50, deadline=None)
small = st.integers(-3, 3)  # so that ties are common
hypotheses = st.tuples(*[small] * FEATURES, st.integers(0, 4))  # and the errors of each
nbest = st.lists(st.lists(hypotheses, min_size=1, max_size=5), min_size=1, max_size=4)
vectors = st.tuples(*[small] * FEATURES).map(lambda each: np.array(each, float))
Lists = list[list[tuple[int, ...]]]


def mean_errors(sums: Floats) -> Floats:
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def as_candidates(lists: Lists) -> Candidates:
    return candidates(
        [np.array([h[:FEATURES] for h in each], float) for each in lists],
        [np.array([[h[FEATURES], 1] for h in each], float) for each in lists],
    )


def brute_error(lists: Lists, weights: list[Fraction]) -> Fraction:
    """In exact numbers; of equal totals, the first wins."""
    errors = 0
    for each in lists:
        totals = [sum(w * f for w, f in zip(weights, h, strict=False)) for h in each]
        errors += each[totals.index(max(totals))][FEATURES]
    return Fraction(errors, len(lists))


def brute_crossings(lists: Lists, weights: Floats, direction: Floats) -> list[Fraction]:
    found = set()
    for each in lists:
        rows = np.array([h[:FEATURES] for h in each])
        lines = list(zip(rows @ weights, rows @ direction, strict=True))
        for (height, slope), (other_height, other_slope) in combinations(lines, 2):
            if slope != other_slope:
                found.add(Fraction(int(height - other_height), int(other_slope - slope)))
    return sorted(found)


def brute_pieces(
    lists: Lists, weights: Floats, direction: Floats
) -> list[tuple[Fraction, Fraction, Fraction]]:
    """Begin, end and error of all pieces between crossings; the outer ones are one long."""
    crossings = brute_crossings(lists, weights, direction) or [Fraction(0)]
    places = [crossings[0] - 1, *crossings, crossings[-1] + 1]
    return [
        (low, high, brute_error(lists, _moved(weights, direction, (low + high) / 2)))
        for low, high in pairwise(places)
    ]


def _moved(weights: Floats, direction: Floats, step: Fraction) -> list[Fraction]:
    return [int(w) + step * int(d) for w, d in zip(weights, direction, strict=True)]


@few
@given(lists=nbest, weights=vectors, direction=vectors)
def test_the_error_between_all_crossings_is_that_of_trying(
    lists: Lists, weights: Floats, direction: Floats
) -> None:
    line = profile(as_candidates(lists), weights, direction, mean_errors)

    for low, high, error in brute_pieces(lists, weights, direction):
        middle = np.array([float((low + high) / 2)])
        assert line.at(middle)[0] == pytest.approx(float(error))


@few
@given(lists=nbest, weights=vectors, direction=vectors, window=st.sampled_from([0.5, 1.0, 3.0]))
def test_the_smoothed_error_is_the_mean_of_the_pieces(
    lists: Lists, weights: Floats, direction: Floats, window: float
) -> None:
    pieces = brute_pieces(lists, weights, direction)
    line = profile(as_candidates(lists), weights, direction, mean_errors)
    pieces[0] = (Fraction(-1000), *pieces[0][1:])
    pieces[-1] = (pieces[-1][0], Fraction(1000), pieces[-1][2])

    for step in (-2.0, -0.25, 0.0, 1.5):
        area = sum(
            max(min(float(high), step + window) - max(float(low), step - window), 0) * float(error)
            for low, high, error in pieces
        )
        smoothed = line.smoothed(np.array([step]), window)[0]
        assert smoothed == pytest.approx(area / (2 * window))


@few
@given(
    steps=st.lists(st.floats(-5, 5), max_size=6).map(sorted),
    errors=st.lists(st.floats(0, 1), min_size=7, max_size=7),
    window=st.sampled_from([0.0, 0.5, 2.0]),
)
def test_no_step_is_better_than_the_best_corner(
    steps: list[float], errors: list[float], window: float
) -> None:
    line = Profile(np.array(steps), np.array(errors[: len(steps) + 1]))

    corners = line.corners(-4.0, 4.0, window)
    assert ((corners >= -4) & (corners <= 4)).all()
    tried = line.smoothed(np.linspace(-3.99, 3.99, 200), window)
    assert line.smoothed(corners, window).min() <= tried.min() + 1e-6


def space(start: Floats, window: float, penalty: float) -> Space:
    low, high = start - 100, start + 100
    low[0] = high[0] = start[0]
    return Space(start, low, high, np.full(FEATURES, window), np.full(FEATURES, penalty))


@few
@given(
    lists=nbest,
    start=vectors,
    window=st.sampled_from([0.0, 0.3, 2.0]),
    penalty=st.sampled_from([0.0, 0.02]),
    restarts=st.integers(0, 2),
)
def test_tuning_is_never_worse_than_its_start(
    lists: Lists, start: Floats, window: float, penalty: float, restarts: int
) -> None:
    tuned_on = as_candidates(lists)
    where = space(start, window, penalty)

    found = search(tuned_on, mean_errors, where, [1, 2], restarts, np.random.default_rng(0))
    assert total_error(tuned_on, found, mean_errors) <= total_error(tuned_on, start, mean_errors)
    assert found[0] == start[0]
    assert ((found >= where.low) & (found <= where.high)).all()


@few
@given(lists=nbest, start=vectors)
def test_one_free_weight_gets_the_least_error_that_there_is(lists: Lists, start: Floats) -> None:
    tuned_on = as_candidates(lists)
    where = space(start, 0.0, 0.0).holding([2])

    found = descend(tuned_on, mean_errors, where, start)
    axis = np.eye(FEATURES)[1]
    least = min(
        [
            brute_error(lists, [Fraction(int(each)) for each in start]),
            *(error for _, _, error in brute_pieces(lists, start, axis)),
        ]
    )
    assert total_error(tuned_on, found, mean_errors) == pytest.approx(float(least))


@few
@given(lists=nbest, weights=vectors)
def test_winners_are_those_of_rescoring(lists: Lists, weights: Floats) -> None:
    factors = CombinationWeights({"m": weights[1]}, {"f": weights[0]}, oov_penalty=weights[2])
    winners = as_candidates(lists).choose(weights)

    for rows, winner in zip(lists, winners, strict=True):
        given_list = NBestList("", [Hypothesis("", {"f": float(row[0])}) for row in rows])
        log_probs = tuple(float(row[1]) for row in rows)
        said = RescoredList("", log_probs, (), tuple(-row[2] for row in rows), ())
        assert combined(given_list, {"m": said}, factors).best == winner


def test_an_impossible_hypothesis_loses_with_any_weight() -> None:
    [winner] = candidates([np.array([[5.0, -np.inf], [1.0, -700.0]])], [np.zeros((2, 1))]).choose(
        np.array([1.0, 1e-5])
    )
    assert winner == 1
