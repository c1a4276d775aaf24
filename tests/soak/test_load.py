"""Clients that check every answer, while all kinds of faults happen around them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.soak import faults, load
from tests.soak.expected import Library
from tests.soak.parts import OTHER_MODEL, THROUGH_PROXY, check_server, model_arguments, models_in
from tests.soak.proxy import proxy_to
from tests.soak.report import Tally
from tests.soak.server_process import soak_server

TIMEOUT_SECONDS = 30.0


@pytest.mark.timeout(180)
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
            async with faults.slow_readers_released(scene):
                await asyncio.gather(
                    load.run_load(direct, cases, tally, tasks=12, seconds=2, seed=1),
                    load.run_load(
                        proxied, cases, through, tasks=4, seconds=2, seed=2, allowed=THROUGH_PROXY
                    ),
                    *(fault(scene) for fault in faults.FAULTS.values()),
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
    paths = models_in(tmp_path)
    tally = Tally("wrong")
    with soak_server(tmp_path / "log", *model_arguments({"ngram": paths["ngram"]})) as server:
        async with load.clients_of(server.address, 1, TIMEOUT_SECONDS) as [client]:
            for case in cases:
                await load.ask(client, case, tally, frozenset())

    assert tally.wrong == len(tally.problems) == len(cases) == 5
