"""Connections that end, and calls that do not."""

from __future__ import annotations

from pathlib import Path

from lmscore.client import AsyncClient
from tests.server.harness import running, settings_for
from tests.soak.proxy import proxy_to


async def test_a_call_outlives_connections_that_end_before_they_are_of_use(tiny_arpa: Path) -> None:
    """As those do that a process had been given, but had not taken, when it was killed."""
    async with (
        running(settings_for(tiny_arpa)) as connection,
        proxy_to(connection.server.address) as proxy,
        AsyncClient(proxy.address, model="tiny") as client,
    ):
        [expected] = await client.score(["a b"])
        for _ in range(3):
            proxy.refusing = 1
            assert proxy.cut() == 1
            [score] = await client.score(["a b"])
            assert score.log_prob == expected.log_prob
        assert proxy.accepted == 7
