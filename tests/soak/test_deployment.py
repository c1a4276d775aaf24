"""A server of two processes, whose workers die while versions come and are no good."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.deployment import FAULTS, SETTINGS, deploy, deployed, run_deployment
from tests.soak.expected import Library
from tests.soak.parts import check_server, models_in
from tests.soak.report import Tally
from tests.soak.server_process import soak_server


@pytest.mark.timeout(400)
async def test_no_call_that_can_be_repeated_fails_whatever_becomes_of_workers_and_versions(
    tmp_path: Path,
) -> None:
    tally = Tally("deployment")
    models = {"ngram": models_in(tmp_path)["ngram"]}
    cases = Library(models, seed=1).cases(2)
    deploy(tmp_path / "repository", models)
    arguments = ("--repository", str(tmp_path / "repository"), "--threads", "1", *SETTINGS)
    with soak_server(tmp_path / "log", *arguments) as server:
        scene = deployed(server, tmp_path / "repository", tally)
        await run_deployment(scene, cases, tasks=12, seconds=1, seed=1)
        check_server(server, tally, growth=False)

    assert tally.problems == []
    assert set(tally.faults) == set(FAULTS)
    assert tally.codes["OK"] > 0
    assert set(tally.codes) <= {"OK", "UNAVAILABLE"}
