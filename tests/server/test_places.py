"""Places in a model's batch: in the order of coming, and never more than there are."""

from __future__ import annotations

import asyncio
import time

import pytest

from lmscore.server.call import Call, Priority, calling
from lmscore.server.errors import DeadlinePassedError, TooManyGenerationsError
from lmscore.server.generation.places import Places


async def entering(places: Places, rows: int) -> asyncio.Task[None]:
    task = asyncio.create_task(places.enter(rows))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def entering_for(call: Call, places: Places, rows: int = 1) -> asyncio.Task[None]:
    with calling(call):
        return await entering(places, rows)


def bulk(caller: str) -> Call:
    return Call("Generate", caller, Priority.BULK)


async def order_of(places: Places, tasks: dict[str, asyncio.Task[None]]) -> list[str]:
    """Who is given a place after whom."""
    order: list[str] = []
    while len(order) < len(tasks):
        places.leave(1)
        await asyncio.sleep(0)
        order += [name for name, task in tasks.items() if task.done() and name not in order]
    return order


async def test_places_are_given_in_the_order_of_coming() -> None:
    places = Places(4, 10)
    await places.enter(4)
    large, small = await entering(places, 3), await entering(places, 1)
    places.leave(2)
    await asyncio.sleep(0)
    assert (large.done(), small.done(), places.waiting) == (False, False, 2)

    places.leave(1)
    await asyncio.gather(large)
    assert not small.done()
    places.leave(1)
    await small
    assert places.waiting == 0


async def test_without_a_line_all_places_are_given_and_the_next_call_is_refused() -> None:
    places = Places(3, 0)
    await places.enter(1)
    await places.enter(2)

    with pytest.raises(TooManyGenerationsError) as refused:
        await places.enter(1)
    assert refused.value.retry_after_seconds == 1.0  # nobody has waited yet
    places.leave(2)
    await places.enter(1)


async def test_who_is_cancelled_in_line_lets_those_behind_pass() -> None:
    places = Places(2, 10)
    await places.enter(1)
    large, small = await entering(places, 2), await entering(places, 1)
    large.cancel()
    await asyncio.wait_for(small, 60)
    assert places.waiting == 0


async def test_a_place_given_to_who_is_cancelled_meanwhile_is_not_lost() -> None:
    places = Places(1, 10)
    await places.enter(1)
    unlucky = await entering(places, 1)
    places.leave(1)  # it is given the place,
    unlucky.cancel()  # and goes before it knows
    await asyncio.wait({unlucky})
    assert unlucky.cancelled()
    await asyncio.wait_for(places.enter(1), 60)


async def test_who_returns_from_a_pause_goes_before_those_who_have_had_nothing() -> None:
    places = Places(1, 10)
    await places.enter(1)
    places.pause(1)
    assert places.waiting == 1
    await places.enter(1)
    newcomer = await entering(places, 1)
    returning = asyncio.create_task(places.return_from_pause(1))
    await asyncio.sleep(0)
    places.leave(1)
    await asyncio.wait_for(returning, 60)
    assert not newcomer.done()
    newcomer.cancel()


async def test_who_goes_while_returning_lets_those_behind_pass() -> None:
    places = Places(1, 10)
    await places.enter(1)
    places.pause(1)
    await places.enter(1)
    returning = asyncio.create_task(places.return_from_pause(1))
    await asyncio.sleep(0)
    newcomer = await entering(places, 1)
    assert places.waiting == 2

    returning.cancel()
    await asyncio.wait({returning})
    assert places.waiting == 1
    places.leave(1)
    await asyncio.wait_for(newcomer, 5)
    assert places.waiting == 0


async def test_who_returns_after_its_deadline_gets_no_place() -> None:
    places = Places(1, 10)
    await places.enter(1)
    places.pause(1)
    await places.enter(1)
    with calling(Call("Generate", "", deadline=time.monotonic() + 0.001)):
        late = asyncio.create_task(places.return_from_pause(1))
    await asyncio.sleep(0.002)
    places.leave(1)

    with pytest.raises(DeadlinePassedError):
        await late
    assert places.waiting == 0
    await asyncio.wait_for(places.enter(1), 5)


async def test_those_who_are_paused_count_among_those_who_wait() -> None:
    places = Places(1, 2)
    for _ in range(2):
        await places.enter(1)
        places.pause(1)
    with pytest.raises(TooManyGenerationsError):
        await places.enter(1)


async def test_urgent_calls_get_places_before_bulk_calls_and_callers_take_turns() -> None:
    places = Places(1, 20)
    await places.enter(1)
    tasks = {f"b{i}": await entering_for(bulk("flood"), places) for i in range(2)}
    for name in ("a1", "a2", "a3", "c1"):
        tasks[name] = await entering_for(Call("Generate", name[0]), places)

    order = await order_of(places, tasks)
    assert order == ["a1", "c1", "a2", "a3", "b0", "b1"]


async def test_bulk_calls_get_places_while_urgent_ones_come_all_the_time() -> None:
    places = Places(1, 100)
    await places.enter(1)
    tasks = {"bulk": await entering_for(bulk("flood"), places)}
    for number in range(20):
        tasks[str(number)] = await entering_for(Call("Generate", str(number)), places)

    assert (await order_of(places, tasks)).index("bulk") == 7


async def test_a_call_in_line_whose_deadline_has_passed_gets_no_place() -> None:
    places = Places(1, 10)
    await places.enter(1)
    late = await entering_for(Call("Generate", "", deadline=time.monotonic() + 0.001), places)
    other = await entering(places, 1)
    await asyncio.sleep(0.002)
    places.leave(1)

    await other
    with pytest.raises(DeadlinePassedError):
        await late


async def test_one_caller_does_not_take_the_whole_line() -> None:
    places = Places(1, 20)
    await places.enter(1)
    tasks = [await entering_for(Call("Generate", "greedy"), places) for _ in range(20)]
    refused = [task for task in tasks if task.done()]
    waiting = places.waiting
    other = await entering_for(Call("Generate", "other"), places)

    assert 10 < waiting < 20
    assert len(refused) == 20 - waiting
    assert all(isinstance(task.exception(), TooManyGenerationsError) for task in refused)
    assert not other.done()
    for task in (*tasks, other):
        task.cancel()
    await asyncio.wait([*tasks, other])
    assert places.waiting == 0
