"""Delays before a worker is started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lmscore.server.backoff import (
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    STEADY_SECONDS,
    Backoff,
)


def test_delays_double_up_to_the_longest() -> None:
    backoff = Backoff(lambda: 1.0)

    assert [backoff.delay_seconds(0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_worker_that_has_served_a_while_starts_over() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.delay_seconds(STEADY_SECONDS - 1)

    assert backoff.delay_seconds(STEADY_SECONDS) == SHORTEST_SECONDS
    assert backoff.delay_seconds(0) == 2 * SHORTEST_SECONDS


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 200)), min_size=1, max_size=20))
def test_chance_takes_at_most_half_of_a_delay(history: list[tuple[float, float]]) -> None:
    chances = iter([chance for chance, _ in history])
    backoff, full = Backoff(lambda: next(chances)), Backoff(lambda: 1.0)
    for chance, served_seconds in history:
        longest = full.delay_seconds(served_seconds)
        delay = backoff.delay_seconds(served_seconds)
        assert longest / 2 <= delay <= longest <= LONGEST_SECONDS
        assert delay == longest * (0.5 + chance / 2)
