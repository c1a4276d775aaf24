"""The likeliest tokens of rows, against NumPy by sorting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmscore.models.decoding.alternatives import Alternatives
from lmscore.models.decoding.weights import Scratch
from tests.models.decoding.test_selection import rows_with_ties


@given(
    rows_with_ties(sizes=(1, 7, 63, 64, 65, 128, 200)),
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_alternatives_are_the_first_by_sorting_as_many_as_each_row_wants(
    log_probs: NDArray[np.float64], counts: list[int], seed: int
) -> None:
    rows = np.random.default_rng(seed).integers(0, len(log_probs), len(counts))
    wanted = np.array(counts, np.int64)

    scratch = Scratch.of(log_probs.shape[1])
    scratch.maxima[:] = -np.inf  # of another row

    found = Alternatives.of(log_probs, rows, wanted, scratch)

    if not any(counts):
        assert found is None
        return
    assert found is not None
    for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
        first = np.argsort(-log_probs[row], kind="stable")[:count]
        first = first[log_probs[row, first] > -np.inf]
        none = max(counts) - len(first)
        assert found.token_ids[i].tolist() == [*first.tolist(), *[-1] * none]
        assert found.log_probs[i].tolist() == [*log_probs[row, first].tolist(), *[-np.inf] * none]
