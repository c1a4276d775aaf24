"""Requests that no client would send."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lmscore.client import AsyncClient
from lmscore.server.repository import ServedModel
from tests.server.character_network import character_network
from tests.server.harness import running, settings_for
from tests.soak import fuzz
from tests.soak.mutations import Mutator, seeds
from tests.soak.report import Tally

REQUESTS = 600  # `python -m tests.soak` sends many more


@pytest.mark.timeout(300)
async def test_no_request_finds_a_bug_or_hangs(tiny_arpa: Path) -> None:
    tally = Tally("fuzz")
    with capture_logs() as log:
        async with running(settings_for(tiny_arpa, **fuzz.SETTINGS)) as connection:
            address = connection.server.address
            connection.server.repository.add(
                ServedModel("network", 1, "ab" * 32, character_network())
            )
            await fuzz.run_fuzz(
                address, ("tiny", "network"), tally, requests=REQUESTS, in_flight=32, seed=2
            )
            await asyncio.to_thread(fuzz.send_what_is_no_call, address, tally, 1)
            async with AsyncClient(address, model="tiny") as client:
                [score] = await client.score(["a b"])

    assert tally.problems == []
    assert [line for line in log if line["log_level"] == "error"] == []
    assert tally.requests == REQUESTS
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= set(tally.codes)
    assert score.token_count == 3


def test_the_same_seed_makes_the_same_requests() -> None:
    originals = seeds(["m"])
    first, second = ([m.mutated(s) for s in originals] for m in (Mutator(3), Mutator(3)))
    assert first == second
    assert first != [seed.request.SerializeToString() for seed in originals]
