"""Many clients at once that ask for everything, and check every answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from grpc import StatusCode

from lmscore.client import AsyncClient, ChannelSettings, LmscoreError
from tests.soak.expected import Case
from tests.soak.report import Tally

GRACE_SECONDS = 5.0
"""A call that has not ended so long after its deadline is lost."""

OVERLOAD_PAUSE_SECONDS = 0.05


@asynccontextmanager
async def clients_of(
    target: str, channels: int, timeout: float, settings: ChannelSettings | None = None
) -> AsyncIterator[list[AsyncClient]]:
    """Clients with a connection each."""
    async with AsyncExitStack() as stack:
        # Channels with equal settings would share one connection.
        yield [
            await stack.enter_async_context(
                AsyncClient(
                    target,
                    timeout=timeout,
                    channel=settings or ChannelSettings(keepalive_seconds=60.0 + i),
                )
            )
            for i in range(channels)
        ]


async def run_load(
    clients: Sequence[AsyncClient],
    cases: Sequence[Case],
    tally: Tally,
    *,
    tasks: int,
    seconds: float,
    seed: int,
    allowed: Iterable[StatusCode] = (),
    every_case: bool = False,
) -> None:
    """Keep so many calls under way for so long; statuses that are not allowed are problems.

    Every case is asked once at least, if that is wanted, however long it takes.
    """
    end = time.monotonic() + seconds
    may = frozenset(allowed)
    at_least = iter(cases if every_case else ())

    async def caller(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        client = clients[number % len(clients)]
        for case in at_least:  # which the callers share
            await ask(client, case, tally, may)
        while time.monotonic() < end:
            await ask(client, chance.choice(cases), tally, may)

    await asyncio.gather(*map(caller, range(tasks)))
    tally.check_settled()


async def ask(
    client: AsyncClient, case: Case, tally: Tally, allowed: frozenset[StatusCode]
) -> None:
    """Make one call and see what comes of it."""
    name = f"{case.method} {case.model}".strip()
    tally.sent[case.method] += 1
    began = time.monotonic()
    try:
        async with asyncio.timeout(client.timeout + GRACE_SECONDS):
            answer = await case.ask(client)
    except LmscoreError as error:
        tally.failed(name, error.code.name, "" if error.code in allowed else str(error))
        # Refused at once, it would be asked for again at once.
        await asyncio.sleep(error.retry_after_seconds or OVERLOAD_PAUSE_SECONDS)
    except TimeoutError:
        tally.lose(name)
    else:
        tally.answered(name, time.monotonic() - began, case.problem(answer))
