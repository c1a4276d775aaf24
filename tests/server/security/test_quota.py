"""Buckets: what is let through, and how long the rest is told to wait."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.server.security.errors import QuotaExceededError
from lmscore.server.security.keys import ApiKey, KeySettings
from lmscore.server.security.quota import Bucket, Quota, charge, charging, quota_turn


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def key(**limits: float) -> ApiKey:
    return ApiKey("team", KeySettings.model_validate({"sha256": "a" * 64, **limits}))


@given(
    rate=st.floats(0.01, 30),
    burst_seconds=st.floats(0.1, 3),
    steps=st.lists(st.floats(0, 10), max_size=10),
)
def test_no_more_than_a_burst_and_the_rate_gets_through(
    rate: float, burst_seconds: float, steps: list[float]
) -> None:
    clock = Clock()
    bucket = Bucket(rate, burst_seconds, clock)
    taken = 0
    for step in steps:
        clock.now += step
        while bucket.seconds_until_room() == 0:
            bucket.take(1)
            taken += 1
            assert taken <= max(1, rate * burst_seconds) + rate * clock.now + 1e-3


@given(rate=st.floats(0.01, 1000), owed=st.integers(0, 10_000))
def test_who_waits_as_told_has_room_and_not_much_sooner(rate: float, owed: int) -> None:
    clock = Clock()
    bucket = Bucket(rate, 1.0, clock)
    bucket.take(max(1.0, rate) + owed)
    seconds = bucket.seconds_until_room()

    assert seconds == pytest.approx((owed + 1) / rate, abs=0.0011)
    clock.now = seconds - 0.002
    assert bucket.seconds_until_room() > 0
    clock.now = seconds
    assert bucket.seconds_until_room() == 0


def test_work_that_turns_out_large_is_paid_for_by_the_next_call() -> None:
    clock = Clock()
    quota = Quota(key(tokens_per_second=100, burst_seconds=2), clock=clock)
    quota.admit()
    quota.charge(500)  # 200 were there
    with pytest.raises(QuotaExceededError) as refused:
        quota.admit()

    assert refused.value.retry_after_seconds == pytest.approx(3.01)
    assert "100 tokens a second" in str(refused.value)
    clock.now = 3.01
    quota.admit()


def test_each_of_four_processes_has_a_quarter_of_the_rate() -> None:
    clock = Clock()
    quota = Quota(key(requests_per_second=8, burst_seconds=1), processes=4, clock=clock)
    quota.admit()
    quota.admit()
    with pytest.raises(QuotaExceededError) as refused:
        quota.admit()

    assert refused.value.retry_after_seconds == pytest.approx(0.5)


def test_new_limits_do_not_forgive_what_is_owed() -> None:
    clock = Clock()
    quota = Quota(key(tokens_per_second=10, burst_seconds=1), clock=clock)
    quota.charge(110)  # 100 too many
    quota.set_limits(key(tokens_per_second=20, burst_seconds=1))
    with pytest.raises(QuotaExceededError) as refused:
        quota.admit()
    assert refused.value.retry_after_seconds == pytest.approx(101 / 20)

    quota.set_limits(key())
    quota.admit()


async def test_a_stream_waits_for_its_turn_and_charges_its_own_key() -> None:
    ours = Quota(key(requests_per_second=1000, burst_seconds=0.001))
    others = Quota(key(tokens_per_second=1))
    loop = asyncio.get_running_loop()
    began = loop.time()
    with charging(ours):
        async with asyncio.TaskGroup() as tasks:
            for _ in itertools.repeat(None, 20):
                tasks.create_task(quota_turn())
        charge(10**6)

    assert loop.time() - began >= 0.018  # the first at once, each other a millisecond later
    others.admit()
    charge(10**6)  # nobody's
    await quota_turn()
