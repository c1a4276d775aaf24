"""Two servers behind one client: either may die, and no call that can be repeated fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import psutil

from tests.soak.expected import Case
from tests.soak.load import clients_of, run_load
from tests.soak.report import Tally
from tests.soak.server_process import SoakServer

REPEATABLE = frozenset({"Score", "Rescore", "Predict", "Tokenize", "ListModels"})
"""Methods with one answer: gRPC sends such a call again where it has none yet."""

RECONNECT_SECONDS = 120.0
CHANNELS = 2
TIMEOUT_SECONDS = 60.0


async def run_failover(
    servers: tuple[SoakServer, SoakServer],
    cases: Sequence[Case],
    tally: Tally,
    *,
    tasks: int,
    seconds: float,
    seed: int,
) -> None:
    """Kill one server under load, start it again, and when it is in use kill the other."""
    target = "ipv4:" + ",".join(server.address for server in servers)
    repeatable = [case for case in cases if case.method in REPEATABLE]
    over = asyncio.Event()

    async def load() -> None:
        part = 0
        while not over.is_set():
            part += 1
            await run_load(
                clients, repeatable, tally, tasks=tasks, seconds=seconds / 20, seed=seed + part
            )

    async with clients_of(target, CHANNELS, TIMEOUT_SECONDS) as clients:
        loading = asyncio.create_task(load())
        try:
            await _kill_in_turn(servers, tally, seconds / 4)
        finally:
            over.set()
            await loading


async def _kill_in_turn(
    servers: tuple[SoakServer, SoakServer], tally: Tally, pause_seconds: float
) -> None:
    first, second = servers
    await in_use(first)
    await in_use(second)
    await asyncio.sleep(pause_seconds)
    first.kill()
    tally.faults["server killed"] += 1
    await asyncio.sleep(pause_seconds)
    await asyncio.to_thread(first.start)
    began = time.monotonic()
    await in_use(first)
    tally.figures["back in use after (s)"] = time.monotonic() - began
    if early := first.calls_before_ready():
        tally.problem(f"{early} calls were sent to a server that had not loaded its models")
    await asyncio.sleep(pause_seconds)
    second.kill()  # from now on it is the first, or nothing
    tally.faults["server killed"] += 1
    await asyncio.sleep(pause_seconds)


async def answering(server: SoakServer, ask: Callable[[], Awaitable[object]]) -> None:
    """Make calls, which go to one server and the other, until this one has answered some."""
    before = server.count("request")
    async with asyncio.timeout(RECONNECT_SECONDS):
        while server.count("request") == before:  # some are left out of the log
            await ask()
            await asyncio.sleep(0.02)


async def in_use(server: SoakServer) -> None:
    """Wait until clients are connected to a server."""
    end = time.monotonic() + RECONNECT_SECONDS
    port = int(server.address.rpartition(":")[2])
    while time.monotonic() < end:
        connections = psutil.Process(server.pid).net_connections(kind="tcp")
        if any(c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED for c in connections):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"nobody has connected to {server.address}")
