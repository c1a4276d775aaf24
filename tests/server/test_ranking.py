"""Ranking, against the definition."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmscore.server.ranking import Hypotheses, Weights, rank

numbers = st.floats(-100, 100)


@given(
    rows=st.lists(
        st.tuples(
            st.one_of(numbers, st.just(-math.inf)),
            st.integers(0, 50),
            st.integers(0, 5),
            st.tuples(numbers, numbers),
        ),
        min_size=1,
        max_size=20,
    ),
    weights=st.tuples(numbers, numbers, numbers, st.tuples(numbers, numbers)),
)
def test_best_comes_first_and_totals_are_never_nan(
    rows: list[tuple[float, int, int, tuple[float, float]]],
    weights: tuple[float, float, float, tuple[float, float]],
) -> None:
    log_probs, words, oov, features = (list(column) for column in zip(*rows, strict=True))
    hypotheses = Hypotheses(
        np.array(log_probs), np.array(words), np.array(oov), np.array(features, np.float64)
    )
    lm, bonus, penalty, factors = weights
    order, totals = rank(hypotheses, Weights(lm, bonus, penalty, np.array(factors)))

    assert sorted(order.tolist()) == list(range(len(rows)))
    assert not np.isnan(totals).any()
    ranked = totals[order]
    assert (ranked[:-1] >= ranked[1:]).all()
    for total, (log_prob, n, o, f) in zip(totals, rows, strict=True):
        expected = bonus * n - penalty * o + sum(a * b for a, b in zip(factors, f, strict=True))
        if lm:
            expected += lm * log_prob
        assert total == expected or math.isclose(total, expected, rel_tol=1e-9, abs_tol=1e-9)
