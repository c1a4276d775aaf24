"""The generator of every row, against NumPy's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.decoding.random_numbers import draw_seed, uniforms

word = st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(word, word, st.integers(0, 40)), min_size=1, max_size=5))
def test_numbers_are_those_of_numpys_philox(rows: list[tuple[int, int, int]]) -> None:
    seeds = np.array([row[0] for row in rows], np.uint64)
    sequences = np.array([row[1] for row in rows], np.uint64)
    steps = np.array([row[2] for row in rows])

    for number, (seed, sequence, step) in zip(uniforms(seeds, sequences, steps), rows, strict=True):
        philox = np.random.Philox(key=np.array([seed, sequence], np.uint64))
        assert number == np.random.Generator(philox).random(4 * step + 1)[-1]


def test_drawn_seeds_differ() -> None:
    assert len({draw_seed() for _ in range(20)}) == 20
