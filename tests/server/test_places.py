"""Places in a model's batch: in the order of coming, and never more than there are."""

from __future__ import annotations

import asyncio

import pytest

from lmscore.server.errors import TooManyGenerationsError
from lmscore.server.generation.places import Places


async def entering(places: Places, rows: int) -> asyncio.Task[None]:
    task = asyncio.create_task(places.enter(rows))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


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


async def test_who_is_cancelled_in_line_lets_those_behind_pass() -> None:
    places = Places(2, 10)
    await places.enter(1)
    large, small = await entering(places, 2), await entering(places, 1)
    large.cancel()
    await asyncio.wait_for(small, 5)
    assert places.waiting == 0


async def test_a_place_given_to_who_is_cancelled_meanwhile_is_not_lost() -> None:
    places = Places(1, 10)
    await places.enter(1)
    unlucky = await entering(places, 1)
    places.leave(1)  # it is given the place,
    unlucky.cancel()  # and goes before it knows
    await asyncio.wait({unlucky})
    assert unlucky.cancelled()
    await asyncio.wait_for(places.enter(1), 5)


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
    await asyncio.wait_for(returning, 5)
    assert not newcomer.done()
    newcomer.cancel()


async def test_those_who_are_paused_count_among_those_who_wait() -> None:
    places = Places(1, 2)
    for _ in range(2):
        await places.enter(1)
        places.pause(1)
    with pytest.raises(TooManyGenerationsError):
        await places.enter(1)
