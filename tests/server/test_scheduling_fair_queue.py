"""Whose turn it is: each class its share, each caller its share, each entry once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.server.call import Call, Priority
from lmscore.server.scheduling.fair_queue import BULK_SHARE, FairQueue


@dataclass(eq=False)
class Item:
    call: Call
    cost: float = 1.0
    name: str = ""


def item(caller: str, cost: float = 1.0, *, bulk: bool = False, name: str = "") -> Item:
    return Item(Call("Score", caller, Priority.BULK if bulk else Priority.INTERACTIVE), cost, name)


def queue_of(*items: Item) -> FairQueue[Item]:
    queue: FairQueue[Item] = FairQueue()
    for each in items:
        queue.add(each)
    return queue


def served(queue: FairQueue[Item], count: int | None = None) -> list[Item]:
    items: list[Item] = []
    while (first := queue.peek()) is not None and (count is None or len(items) < count):
        queue.take(first)
        items.append(first)
    return items


def test_urgent_work_goes_before_thousands_of_bulk_entries() -> None:
    queue = queue_of(*(item("flood", 100, bulk=True) for _ in range(5000)))
    served(queue, 3)
    urgent = item("user", 100)
    queue.add(urgent)

    assert queue.peek() is urgent


def test_bulk_work_gets_its_stated_share_while_urgent_work_never_ends() -> None:
    queue = queue_of(*(item("flood", 50, bulk=True) for _ in range(1000)))
    cost: Counter[Priority] = Counter()
    for _ in range(20_000):
        while queue.of_class(Priority.INTERACTIVE) < 3:
            queue.add(item("user", 10))
        [turn] = served(queue, 1)
        cost[turn.call.priority] += int(turn.cost)

    assert cost[Priority.BULK] / cost.total() == pytest.approx(1 / BULK_SHARE, rel=0.02)


def test_the_share_of_bulk_work_is_not_saved_up_while_there_is_none() -> None:
    queue = queue_of(*(item("user") for _ in range(1000)))
    served(queue)
    for each in (*(item("flood", bulk=True) for _ in range(10)), item("user")):
        queue.add(each)

    assert served(queue, 1)[0].call.priority is Priority.INTERACTIVE


def test_callers_alternate_however_much_each_has_waiting() -> None:
    queue = queue_of(*(item("many") for _ in range(1000)), *(item("few") for _ in range(3)))

    callers = [each.call.caller for each in served(queue, 6)]
    assert sorted(callers[0:2]) == sorted(callers[2:4]) == sorted(callers[4:6]) == ["few", "many"]


def test_callers_get_the_same_tokens_whatever_the_size_of_their_batches() -> None:
    large = [item("large", 1000) for _ in range(20)]
    queue = queue_of(*large, *(item("small", 10) for _ in range(2000)))

    cost: Counter[str] = Counter()
    for each in served(queue, 1000):
        cost[each.call.caller] += int(each.cost)
        assert abs(cost["large"] - cost["small"]) <= 1000  # one batch
    assert cost["large"] >= 8000


def test_a_small_request_does_not_wait_for_a_large_one_that_came_before() -> None:
    queue = queue_of(item("large", 100_000), item("small", 10))

    assert [each.call.caller for each in served(queue)] == ["small", "large"]


def test_a_caller_who_asks_one_at_a_time_is_served_next_but_one() -> None:
    queue = queue_of(*(item("flood", 10) for _ in range(1000)))
    for _ in range(50):
        queue.add(item("polite", 10))
        assert "polite" in [each.call.caller for each in served(queue, 2)]


def test_a_large_request_is_not_passed_for_ever() -> None:
    queue = queue_of(item("large", 1000), item("a", 10), item("b", 10))
    turns = 0
    while (turn := served(queue, 1)[0]).call.caller != "large":
        queue.add(item(turn.call.caller, 10))
        turns += 1

    assert turns == pytest.approx(200, abs=2)  # a and b have had as much as it has, each


def test_taking_others_along_is_at_their_callers_expense() -> None:
    a = [item("a", 10, name=str(i)) for i in range(4)]
    b = [item("b", 10, name=str(i)) for i in range(4)]
    queue = queue_of(*a, *b)
    for each in (a[0], a[1], a[2]):
        queue.take(each)

    assert [each.call.caller for each in served(queue)][:3] == ["b", "b", "b"]


def test_what_waits_is_not_put_off_by_younger_work_of_its_caller_that_is_taken_along() -> None:
    first, waiting = item("a", 10, name="x"), item("a", 10, name="y")
    queue = queue_of(first, item("b", 10, name="x"), waiting)
    queue.take(first)

    for _ in range(5):
        for caller in ("a", "a", "b"):
            queue.add(item(caller, 10, name="x"))
        entry = queue.peek()
        assert entry is not None
        if entry is waiting:
            return
        for each in [entry, *queue.companions(entry, lambda each: each.name == "x")]:
            queue.take(each)
    raise AssertionError("it has had no turn")


def test_companions_are_of_the_same_class_and_come_in_turn() -> None:
    a = [item("a", 10, name="x") for _ in range(3)]
    b = [item("b", 10, name=name) for name in ("x", "y", "x")]
    queue = queue_of(*a, *b, item("c", 10, bulk=True, name="x"))

    names = queue.companions(a[0], lambda each: each.name == "x")
    assert [each.call.caller for each in names] == ["b", "a", "b", "a"]


def test_what_is_ahead_of_new_work_is_a_share_of_others_and_all_of_ones_own() -> None:
    queue = queue_of(
        *(item("flood", 100) for _ in range(10)), item("b", 30), item("c", 500, bulk=True)
    )

    assert queue.ahead(Call("Score", "new"), 50) == 50 + 50 + 30
    assert queue.ahead(Call("Score", "b"), 50) == 80 + 80
    assert queue.ahead(Call("Score", "new", Priority.BULK), 100) == 100 + 1030 + 100


steps = st.one_of(
    st.tuples(
        st.just("add"),
        st.sampled_from("abc"),
        st.sampled_from([1.0, 7.5, 100.0]),
        st.booleans(),
    ),
    st.tuples(st.just("remove"), st.integers(0, 30)),
    st.tuples(st.just("serve"), st.integers(1, 3)),
    st.tuples(st.just("take any"), st.integers(0, 30)),
)


@given(st.lists(steps, max_size=80))
def test_every_entry_has_one_turn_or_is_removed_and_no_caller_is_passed_over(
    program: list[tuple[str, ...]],
) -> None:
    queue: FairQueue[Item] = FairQueue()
    waiting: list[Item] = []
    for step in program:
        match step:
            case ("add", caller, cost, bulk):
                new = item(caller, float(cost), bulk=bool(bulk))
                queue.add(new)
                waiting.append(new)
            case ("remove", index) if waiting:
                gone = waiting.pop(int(index) % len(waiting))
                assert queue.remove(gone)
                assert not queue.remove(gone)
            case ("take any", index) if waiting:
                queue.take(waiting.pop(int(index) % len(waiting)))
            case ("serve", count):
                for each in served(queue, int(count)):
                    waiting.remove(each)
        assert len(queue) == len(waiting)
        assert (queue.peek() is None) == (not waiting)
    order = served(queue)

    assert Counter(map(id, order)) == Counter(map(id, waiting))
    for caller in "abc":  # each in the order of coming, within its class
        for priority in Priority:

            def own(items: list[Item], who: str = caller, of: Priority = priority) -> list[int]:
                return [id(i) for i in items if i.call.caller == who and i.call.priority is of]

            assert own(order) == own(waiting)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 50), st.booleans()), max_size=60))
def test_no_class_and_no_caller_starves_behind_a_flood(
    others: list[tuple[str, int, bool]],
) -> None:
    victim = item("victim", 20, bulk=True)
    queue = queue_of(*(item(who, cost, bulk=bulk) for who, cost, bulk in others), victim)
    passed = 0.0
    while (turn := served(queue, 1)[0]) is not victim:
        passed += turn.cost
        queue.add(item(turn.call.caller, turn.cost, bulk=turn.call.priority is Priority.BULK))

    # In its class the two others get as much as it, and one entry; and then there is the share.
    bulk = 20 + 2 * (20 + 50)
    assert passed <= (BULK_SHARE - 1) * (bulk + 50) + bulk + 50


def test_what_has_gone_leaves_nothing_behind() -> None:
    queue: FairQueue[Item] = FairQueue()
    stays = item("b")
    queue.add(stays)
    for _ in range(3000):
        heads = [item(f"caller {i}") for i in range(2)]
        for each in heads:
            queue.add(each)
        for each in heads:
            queue.remove(each)

    assert len(queue._urgent._due) < 100  # noqa: SLF001
    assert len(queue._urgent._lanes) == 1  # noqa: SLF001
