from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.client import Hypothesis, NBestList, ServerError
from lmscore.client.batching import (
    MAX_BATCH_CHARACTERS,
    Window,
    batches,
    list_batcher,
    text_batcher,
)


@given(st.lists(st.text(max_size=5)), st.integers(1, 7))
def test_batches_hold_every_text_once_in_order(texts: list[str], size: int) -> None:
    cut = list(batches(texts, text_batcher(size)))

    assert [text for batch in cut for text in batch] == texts
    assert all(len(batch) == size for batch in cut[:-1])
    assert all(cut)


def test_an_item_over_the_limit_goes_alone() -> None:
    long = "a" * (MAX_BATCH_CHARACTERS + 1)

    assert [len(batch) for batch in batches(["a", long, "b", "c"], text_batcher(10))] == [1, 1, 2]


def test_lists_are_counted_by_their_hypotheses() -> None:
    sizes = [3, 3, 1, 9, 0, 1]
    lists = [NBestList(str(n), [Hypothesis("a")] * n) for n in sizes]

    cut = batches(lists, list_batcher(6))
    assert [[len(each.hypotheses) for each in batch] for batch in cut] == [[3, 3], [1], [9], [0, 1]]


@given(st.permutations(range(6)))
def test_answers_leave_the_window_in_order(arrivals: list[int]) -> None:
    window = Window[str](6)
    ids = [window.open() for _ in range(6)]
    assert window.full

    left = [answer for each in arrivals for answer in window.arrive(ids[each], f"answer {each}")]
    assert left == [f"answer {each}" for each in range(6)]
    assert window.empty


def test_a_window_stays_full_while_its_oldest_answer_is_missing() -> None:
    window = Window[str](2)
    first, second = window.open(), window.open()

    assert list(window.arrive(second, "b")) == []
    assert window.full
    assert list(window.arrive(first, "a")) == ["a", "b"]


@pytest.mark.parametrize("request_id", [0, 1, 2])
def test_an_answer_that_nobody_waits_for_is_refused(request_id: int) -> None:
    window = Window[str](5)
    list(window.arrive(window.open(), "a"))  # 0 has left
    window.open()
    list(window.arrive(window.open(), "c"))  # 2 has arrived, 1 is missing
    if request_id == 1:
        list(window.arrive(1, "b"))

    with pytest.raises(ServerError, match=f"request {request_id}"):
        list(window.arrive(request_id, "again"))


def test_a_window_has_a_place_at_least() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Window[str](0)
