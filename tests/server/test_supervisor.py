"""How a supervisor treats its workers; these are scripts, because real ones take seconds to start.

What real ones do is in test_processes.py.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from lmscore.server import supervisor, worker_process
from lmscore.server.model_source import ModelSource
from lmscore.server.settings import Settings
from lmscore.server.settings_sources import settings_from_json
from lmscore.server.stages import StartError
from lmscore.server.supervisor import supervise

PREAMBLE = """
import json, os, signal, sys, time
index, settings, sharing = json.loads(sys.stdin.readline())
settings = json.loads(settings)
def tell(**message):
    os.write(0, json.dumps(message).encode() + b"\\n")
def rest():
    while True:  # signal.pause would wait on after a signal that came just before it
        time.sleep(0.05)
"""
SERVE = """
tell(stage="serving")
signal.pause()
"""
DRAIN = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
tell(stage="serving")
rest()
"""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what another process has done sets no event
            await asyncio.sleep(0.01)


class Run:
    """A supervisor at work, and what it has logged."""

    def __init__(self, task: asyncio.Task[None], events: list[Any]) -> None:
        self.task = task
        self.events = events

    def named(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == event]

    async def wait_for(self, event: str, times: int = 1) -> dict[str, Any]:
        await until(lambda: len(self.named(event)) >= times or self.task.done())
        return self.named(event)[times - 1]

    async def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        os.kill(os.getpid(), number)
        await asyncio.sleep(0)

    def pids(self) -> list[int]:
        return [event["pid"] for event in self.named("worker started")]


Supervise = Callable[..., Run]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    with capture_logs() as events:

        def start(script: str, **overrides: Any) -> Run:
            command = (sys.executable, "-S", "-c", PREAMBLE + script)
            monkeypatch.setattr(worker_process, "COMMAND", command)
            settings = Settings(
                **{
                    "model": (ModelSource(name="tiny", path=Path("tiny.ngram")),),
                    "listen": "127.0.0.1:0",
                    "processes": 2,
                    **overrides,
                }
            )
            return Run(asyncio.create_task(supervise(settings)), events)

        yield start


async def test_ready_is_said_once_when_all_are_and_sigterm_reaches_all(run: Supervise) -> None:
    server = run(DRAIN)
    ready = await server.wait_for("ready")
    await server.signal()
    await asyncio.wait_for(server.task, 60)

    assert ready["models"] == ["tiny"]
    assert not ready["address"].endswith(":0")
    assert len(server.named("ready")) == 1
    assert not any(map(psutil.pid_exists, server.pids()))


async def test_a_worker_that_was_killed_is_started_again_and_the_other_is_left_alone(
    run: Supervise,
) -> None:
    server = run(DRAIN)
    await server.wait_for("ready")
    killed, *others = server.pids()
    os.kill(killed, signal.SIGKILL)
    started = await server.wait_for("worker started", times=3)
    [ended] = server.named("worker ended")
    await server.signal()
    await asyncio.wait_for(server.task, 60)

    assert (ended["pid"], ended["reason"]) == (killed, "SIGKILL")
    assert started["worker"] == ended["worker"]
    assert 0.25 <= ended["restart_in_seconds"] <= 0.5
    assert server.pids() == [killed, *others, started["pid"]]


async def test_a_worker_that_comes_back_listens_when_it_has_loaded(
    run: Supervise, tmp_path: Path
) -> None:
    server = run(
        f"""
with open({str(tmp_path / "orders")!r} + str(index), "a") as file:
    file.write(sharing + chr(10))
{DRAIN}"""
    )
    await server.wait_for("ready")
    os.kill(server.pids()[0], signal.SIGKILL)
    await server.wait_for("worker started", times=3)
    index = str(server.named("worker ended")[0]["worker"])
    lines = tmp_path / f"orders{index}"
    await until(lambda: lines.read_text().count("\n") == 2)
    await server.signal()
    await asyncio.wait_for(server.task, 60)

    assert lines.read_text() == "at once\nwhen loaded\n"


async def test_delays_grow_while_a_worker_keeps_failing(
    run: Supervise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmscore.server.backoff.SHORTEST_SECONDS", 0.01)
    server = run(
        """
if sharing == "when loaded":
    tell(problem="the model has gone")
    sys.exit(1)
tell(stage="serving")
signal.pause()
"""
    )
    await server.wait_for("ready")
    os.kill(server.pids()[0], signal.SIGKILL)
    await server.wait_for("worker ended", times=4)
    delays = [event["restart_in_seconds"] for event in server.named("worker ended")]
    reasons = [event["reason"] for event in server.named("worker ended")]
    await server.signal()
    await asyncio.wait_for(server.task, 60)

    assert reasons[:4] == ["SIGKILL"] + ["the model has gone"] * 3
    for failures, delay in enumerate(delays[:4]):
        assert 0.005 * 2**failures - 0.005 <= delay <= 0.01 * 2**failures + 0.005


async def test_a_worker_that_cannot_start_at_first_ends_the_server_with_its_words(
    run: Supervise,
) -> None:
    server = run(
        """
if index == 1:
    tell(problem="tiny.arpa:5: not a number")
    sys.exit(1)
tell(stage="serving")
signal.pause()
"""
    )
    with pytest.raises(StartError, match=r"^tiny\.arpa:5: not a number$"):
        await asyncio.wait_for(server.task, 60)

    assert len(server.pids()) == 2
    assert not any(map(psutil.pid_exists, server.pids()))


async def test_workers_that_end_without_a_word_at_first_end_the_server_with_one_error(
    run: Supervise, caplog: pytest.LogCaptureFixture
) -> None:
    server = run("sys.exit(3)", processes=4)
    with pytest.raises(StartError, match="before it could serve: exit code 3"):
        await asyncio.wait_for(server.task, 60)
    del server
    gc.collect()

    assert not caplog.records  # asyncio says there what nobody has looked at


async def test_an_interpreter_that_cannot_run_is_one_clear_line(
    run: Supervise, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = run(SERVE)
    monkeypatch.setattr(worker_process, "COMMAND", ("/does/not/exist",))
    with pytest.raises(StartError, match="cannot start a process: No such file"):
        await asyncio.wait_for(server.task, 60)


async def test_a_second_signal_reaches_the_workers_too(run: Supervise, tmp_path: Path) -> None:
    server = run(
        f"""
received = []
def on_signal(*_):
    received.append(1)
    open({str(tmp_path)!r} + f"/{{index}}", "w").close()
    if len(received) == 2:
        sys.exit()
signal.signal(signal.SIGTERM, on_signal)
tell(stage="serving")
rest()
""",
        drain_timeout_seconds=3600,
    )
    await server.wait_for("ready")
    await server.signal()
    await until(lambda: len([*tmp_path.iterdir()]) == 2)
    assert not server.task.done()
    await server.signal(signal.SIGINT)
    await asyncio.wait_for(server.task, 60)

    assert not server.named("killing workers that do not end")


async def test_a_worker_that_does_not_end_is_killed(
    run: Supervise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "KILL_SECONDS", 0.2)
    server = run(
        """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
tell(stage="serving")
while True:
    signal.pause()
""",
        drain_timeout_seconds=0.1,
    )
    await server.wait_for("ready")
    await server.signal()
    await asyncio.wait_for(server.task, 60)

    assert server.named("killing workers that do not end")
    assert not any(map(psutil.pid_exists, server.pids()))


async def test_a_signal_between_two_starts_ends_the_wait(
    run: Supervise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmscore.server.backoff.SHORTEST_SECONDS", 3600)
    server = run(SERVE, processes=1)
    await server.wait_for("ready")
    os.kill(server.pids()[0], signal.SIGKILL)
    await server.wait_for("worker ended")
    started = time.monotonic()
    await server.signal()
    await asyncio.wait_for(server.task, 60)

    assert time.monotonic() - started < 60
    assert len(server.pids()) == 1


async def test_workers_get_the_settings_exactly(run: Supervise, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd, =\xff.ngram")
    server = run(
        f"""
with open({str(tmp_path / "settings.json")!r}, "w") as file:
    json.dump(settings, file)
{DRAIN}""",
        processes=1,
        model=(ModelSource(name="odd", path=odd),),
        drain_timeout_seconds=0.1 + 0.2,
        threads=3,
    )
    ready = await server.wait_for("ready")
    await server.signal()
    await asyncio.wait_for(server.task, 60)
    received = settings_from_json((tmp_path / "settings.json").read_text())

    assert received.model == (ModelSource(name="odd", path=odd),)
    assert received.drain_timeout_seconds == 0.1 + 0.2
    assert (received.threads, received.listen) == (3, ready["address"])


@pytest.mark.parametrize(
    ("given", "threads"),
    [({}, 8), ({"processes": 2}, 4), ({"processes": "3"}, 2), ({"processes": 100}, 1)],
)
def test_processes_divide_the_cores_unless_threads_are_given(
    given: dict[str, Any], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)

    assert Settings(**given).threads == (threads if given else Settings().threads)
    assert Settings(**given, threads=5).threads == 5
