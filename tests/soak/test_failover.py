"""A client of two servers, of which either may die."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from lmscore.client import AsyncClient
from tests.soak.failover import answering
from tests.soak.server_process import soak_server

CALLS = 60


async def _score(client: AsyncClient) -> float:
    [score] = await client.score(["a b"], model="tiny")
    return score.log_prob


@pytest.mark.timeout(300)
async def test_calls_of_a_server_that_dies_are_answered_by_the_other(
    tiny_arpa: Path, tmp_path: Path
) -> None:
    arguments = ("--model", f"tiny={tiny_arpa}", "--threads", "1")
    with (
        soak_server(tmp_path / "first.log", *arguments) as first,
        soak_server(tmp_path / "second.log", *arguments) as second,
    ):
        target = f"ipv4:{first.address},{second.address}"
        async with AsyncClient(target, timeout=100) as client:
            score = partial(_score, client)
            expected = await score()
            await answering(first, score)
            await answering(second, score)
            os.kill(first.pid, signal.SIGSTOP)  # so that calls are under way when it dies
            calls = [asyncio.create_task(_score(client)) for _ in range(CALLS)]
            done = asyncio.as_completed(calls)
            for _ in range(CALLS // 4):
                await next(done)
            first.kill()
            assert set(await asyncio.gather(*calls)) == {expected}

            await asyncio.to_thread(first.start)
            await answering(first, score)
            assert first.calls_before_ready() == 0
            second.kill()  # from now on it is the first, or nothing
            again = await asyncio.gather(*(_score(client) for _ in range(CALLS)))
    assert set(again) == {expected}
