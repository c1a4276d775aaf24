"""A server of several processes with a repository: workers die and versions come under load."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil

from lmscore.client import AsyncClient
from tests.soak.expected import Case
from tests.soak.failover import REPEATABLE
from tests.soak.load import clients_of, run_load
from tests.soak.overload import take_over
from tests.soak.report import Tally
from tests.soak.server_process import SoakServer

PROCESSES = 2
SETTINGS = ("--processes", str(PROCESSES), "--load", "copy", "--repository-poll-seconds", "0.2")
CHANNELS = 4
TIMEOUT_SECONDS = 100.0
FOLLOW_SECONDS = 120.0  # until a worker or a version is there

BEGUN = frozenset({grpc.StatusCode.UNAVAILABLE})
"""How a call may end of which a worker that was killed had given a part of the answer."""


@dataclass
class Deployment:
    """A repository of equal versions, and the server that follows it."""

    server: SoakServer
    repository: Path
    tally: Tally
    versions: dict[str, int] = field(default_factory=dict)  # the newest of each model, good or not
    good: dict[str, int] = field(default_factory=dict)  # the newest that can be loaded

    def put(self, name: str, source: Path) -> Path:
        """Move a version of a model in, as operators do: all of it at once."""
        version = self.versions.get(name, 0) + 1
        folder = self.repository / name / str(version)
        beside = self.repository / f".{name}-{version}"
        if source.is_dir():
            shutil.copytree(source, beside)
        else:
            beside.mkdir(parents=True)
            shutil.copy(source, beside)
        folder.parent.mkdir(exist_ok=True)
        beside.rename(folder)
        self.versions[name] = self.good[name] = version
        return folder

    def first(self, name: str) -> Path:
        """The version that nothing is done to."""
        return self.repository / name / "1"

    def workers(self) -> list[psutil.Process]:
        """The processes that answer calls, or load."""
        children = psutil.Process(self.server.pid).children(recursive=True)
        return [each for each in children if "lmscore.server.worker" in _command_of(each)]


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def deploy(repository: Path, models: Mapping[str, Path]) -> None:
    """Make a repository with the first version of each model."""
    repository.mkdir()
    for name, source in models.items():
        folder = repository / name / "1"
        if source.is_dir():
            shutil.copytree(source, folder)
        else:
            folder.mkdir(parents=True)
            shutil.copy(source, folder)


def deployed(server: SoakServer, repository: Path, tally: Tally) -> Deployment:
    """What there is of a repository with the first versions alone."""
    first = {path.name: 1 for path in repository.iterdir()}
    return Deployment(server, repository, tally, dict(first), dict(first))


async def kill_worker(scene: Deployment, chance: random.Random) -> None:
    """Kill one of the workers, and wait until there is another."""
    ready = scene.server.count("worker ready")
    await until(lambda: len(scene.workers()) == PROCESSES, "full set of workers")
    os.kill(chance.choice(scene.workers()).pid, signal.SIGKILL)
    await until(lambda: scene.server.count("worker ready") > ready, "another worker")


async def add_version(scene: Deployment, chance: random.Random) -> None:
    """Put the same model in under the next number."""
    name = chance.choice(sorted(scene.versions))
    source = scene.first(name)
    scene.put(name, source if name == "lstm" else next(source.iterdir()))


async def add_corrupt_version(scene: Deployment, chance: random.Random) -> None:
    """Put a model in of which the end is missing."""
    name, good = "ngram", scene.good["ngram"]
    [source] = scene.first(name).iterdir()
    half = scene.repository / f".half{source.suffix}"
    half.write_bytes(source.read_bytes()[: -chance.randrange(1, source.stat().st_size)])
    failed = scene.server.count("version cannot be loaded")
    scene.put(name, half)
    scene.good[name] = good
    half.unlink()
    await until(
        lambda: scene.server.count("version cannot be loaded") > failed, "word of a corrupt version"
    )


async def truncate_model_file(scene: Deployment, chance: random.Random) -> None:
    """Cut off the file of the version that serves, which was copied into memory."""
    version = scene.good["ngram"]
    if version == 1:  # a worker that starts needs one that it can load
        await add_version(scene, chance)
        return
    [path] = (scene.repository / "ngram" / str(version)).iterdir()
    os.truncate(path, path.stat().st_size // 2)
    scene.good["ngram"] = 1  # of which it is known


FAULTS: dict[str, Callable[[Deployment, random.Random], Awaitable[None]]] = {
    "worker killed": kill_worker,
    "version added": add_version,
    "corrupt version added": add_corrupt_version,
    "model file truncated": truncate_model_file,
}


async def until(done: Callable[[], bool], what: str) -> None:
    """Wait for something; raises AssertionError if it does not come."""
    end = time.monotonic() + FOLLOW_SECONDS
    while not done():
        assert time.monotonic() < end, f"there was no {what}"
        await asyncio.sleep(0.1)


async def run_deployment(
    scene: Deployment, cases: Sequence[Case], *, tasks: int, seconds: float, seed: int
) -> None:
    """Do all of it in turn under load; nothing that can be repeated fails."""
    single = [case for case in cases if case.method in REPEATABLE - {"ListModels"}]
    longer = [case for case in cases if case.method in {"ScoreStream", "Generate"}]
    others, over = Tally("others"), asyncio.Event()

    async def load(
        chosen: Sequence[Case], tally: Tally, share: float, may: frozenset[grpc.StatusCode]
    ) -> None:
        part = 0
        while not over.is_set():
            part += 1
            await run_load(
                clients,
                chosen,
                tally,
                tasks=max(1, round(tasks * share)),
                seconds=seconds / 20,
                seed=seed + part,
                allowed=may,
            )

    async with clients_of(scene.server.address, CHANNELS, TIMEOUT_SECONDS) as clients:
        loads = asyncio.gather(
            load(single, scene.tally, 0.75, frozenset()), load(longer, others, 0.25, BEGUN)
        )
        try:
            await _disturb(scene, seconds, seed)
            await _newest_answers(clients[0], scene)
        finally:
            over.set()
            await loads
    take_over(scene.tally, others)


async def _disturb(scene: Deployment, seconds: float, seed: int) -> None:
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    first = True
    while first or time.monotonic() < end:
        first = False
        for name in chance.sample(list(FAULTS), len(FAULTS)):
            await FAULTS[name](scene, chance)
            scene.tally.faults[name] += 1
            await asyncio.sleep(seconds / 20)


async def _newest_answers(client: AsyncClient, scene: Deployment) -> None:
    """A version that comes last serves, whatever came before it."""
    name = "ngram"
    [source] = scene.first(name).iterdir()
    scene.put(name, source)
    end = time.monotonic() + FOLLOW_SECONDS
    while (await client.score(["a"], model=name)).model.version != scene.good[name]:
        assert time.monotonic() < end, "the newest version does not serve"
        await asyncio.sleep(0.1)
