"""Clients that check every answer, while all kinds of faults happen around them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lmscore.client import AsyncClient
from lmscore.server.model_source import ModelSource
from tests.server.harness import running, settings_for
from tests.soak import faults, load
from tests.soak.expected import DEMO_MODELS, Library
from tests.soak.parts import OTHER_MODEL, THROUGH_PROXY, check_server, model_arguments, models_in
from tests.soak.proxy import proxy_to
from tests.soak.report import Tally
from tests.soak.server_process import soak_server

TIMEOUT_SECONDS = 100.0


@pytest.mark.timeout(300)
async def test_no_answer_is_wrong_or_lost_while_others_fail(tmp_path: Path) -> None:
    tally, through = Tally("direct"), Tally("through the proxy")
    paths = models_in(tmp_path)
    cases = Library(paths, seed=1).cases(2)
    (tmp_path / "other.arpa").write_text(OTHER_MODEL)
    with soak_server(tmp_path / "log", *model_arguments(paths)) as server:
        async with (
            proxy_to(server.address) as proxy,
            load.clients_of(server.address, 2, TIMEOUT_SECONDS) as direct,
            load.clients_of(proxy.address, 1, TIMEOUT_SECONDS) as proxied,
        ):
            scene = faults.Scene(
                server.address, "ngram", proxy, paths["ngram"], tmp_path / "other.arpa", tally
            )
            over = asyncio.Event()

            async def load_until_over(clients: list[AsyncClient], tally: Tally, **of: Any) -> None:
                seed = 0
                while not (seed and over.is_set()):
                    seed += 1
                    await load.run_load(
                        clients, cases, tally, seconds=0.3, seed=seed, every_case=seed == 1, **of
                    )

            async def all_faults() -> None:
                try:
                    await asyncio.gather(*(fault(scene) for fault in faults.FAULTS.values()))
                finally:
                    over.set()

            async with faults.slow_readers_released(scene):
                await asyncio.gather(
                    load_until_over(direct, tally, tasks=12),
                    load_until_over(proxied, through, tasks=4, allowed=THROUGH_PROXY),
                    all_faults(),
                )
        check_server(server, tally, growth=False)

    assert (tally.problems, through.problems) == ([], [])
    assert set(tally.codes) == {"OK"}
    assert {"Score", "ScoreStream", "Rescore", "Generate", "Predict", "Tokenize"} <= set(tally.sent)


async def test_a_wrong_answer_is_noticed(tmp_path: Path) -> None:
    """The checks themselves: answers of another model are all wrong."""
    (tmp_path / "other.arpa").write_text(OTHER_MODEL)
    cases = [
        case
        for case in Library({"ngram": tmp_path / "other.arpa"}, seed=1).cases(1)
        if case.method not in {"ScoreStream", "Generate"}
    ]
    tally = Tally("wrong")
    models = (ModelSource(name="ngram", path=DEMO_MODELS["ngram"]),)
    async with (
        running(settings_for(tmp_path, model=models)) as connection,
        load.clients_of(connection.server.address, 1, TIMEOUT_SECONDS) as [client],
    ):
        for case in cases:
            await load.ask(client, case, tally, frozenset())

    assert tally.wrong == len(tally.problems) == len(cases) == 5
