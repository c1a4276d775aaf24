"""Tasks in copies of this process: each has its answer, whatever becomes of others."""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection

import pytest

from tests.mutation import forks


def task(argument: str, answer: Connection) -> None:
    match argument:
        case "hang":
            time.sleep(600)
        case "crash":
            os._exit(1)
    answer.send(argument)


def test_what_hangs_or_crashes_is_ended_and_the_others_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forks, "CLOCK", 0.5)
    arguments = {"a": [""], "b": ["hang"], "c": ["", "found"], "d": ["crash"], "e": ["found"]}

    outcomes = dict(forks.many(task, [*arguments.items()], jobs=1))

    nothing = "no end, or a crash"
    assert outcomes == {"a": "", "b": nothing, "c": "found", "d": nothing, "e": "found"}
