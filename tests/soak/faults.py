"""What goes wrong around a server while it works for others."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub
from tests.soak.proxy import Proxy
from tests.soak.report import Tally

VICTIM_SECONDS = 100.0  # to get into the middle of its calls
STALL_SECONDS = 0.5
SLOW_BYTES_PER_SECOND = 200_000.0
SLOW_READER_WRITES = 2000
SLOW_READER_STEP_SECONDS = 0.2


@dataclass
class Scene:
    """A server under load, and what faults need to get at it."""

    address: str
    model: str  # that generates
    proxy: Proxy  # in front of it, for some of the clients
    model_file: Path  # that it serves
    other_model: Path
    tally: Tally
    slow_readers: list[grpc.aio.Channel] = field(default_factory=list)


async def kill_client(scene: Scene) -> None:
    """End a client with calls under way so that it can tell nobody."""
    command = [sys.executable, "-m", "tests.soak.victim", scene.address, scene.model]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), VICTIM_SECONDS)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    if line != b"busy\n":
        scene.tally.problem("a client that was to be killed was never busy")


async def cut_connections(scene: Scene) -> None:
    """End all connections through the proxy, in the middle of their messages."""
    scene.proxy.cut()


async def stall_connections(scene: Scene) -> None:
    """Let no byte through the proxy for a while."""
    scene.proxy.stall()
    await asyncio.sleep(STALL_SECONDS)
    scene.proxy.go_on()


async def throttle_connections(scene: Scene) -> None:
    """Let few bytes through the proxy for a while."""
    scene.proxy.bytes_per_second = SLOW_BYTES_PER_SECOND
    await asyncio.sleep(STALL_SECONDS)
    scene.proxy.bytes_per_second = None


async def replace_model_file(scene: Scene) -> None:
    """Put another model in the place of the file that is served, as a deployment would."""
    beside = scene.model_file.with_suffix(".new")
    shutil.copy(scene.other_model, beside)
    beside.replace(scene.model_file)


async def stop_reading(scene: Scene) -> None:
    """Begin calls with large answers, and read none of them."""
    channel = grpc.aio.insecure_channel(scene.address, [("grpc.use_local_subchannel_pool", 1)])
    scene.slow_readers.append(channel)
    stub: Any = LanguageModelServiceStub(channel)
    model = ModelSelector(name=scene.model)
    request = wire.GenerateRequest(
        model=model, num_sequences=8, max_tokens=1000, min_tokens=1000, alternatives=50
    )
    generation = stub.Generate(request)
    await generation.read()
    score = wire.ScoreRequest(
        model=model, texts=["the class of the object"] * 500, detail=wire.SCORE_DETAIL_TOKENS
    )
    stream = stub.ScoreStream()
    for i in range(SLOW_READER_WRITES):
        write = asyncio.ensure_future(
            stream.write(wire.ScoreStreamRequest(request_id=i, score=score))
        )
        done, _ = await asyncio.wait({write}, timeout=SLOW_READER_STEP_SECONDS)
        if not done:
            write.cancel()
            return  # the server reads no more before it has been read from
    scene.tally.problem("a stream whose answers nobody reads was read without end")


FAULTS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "client killed": kill_client,
    "connections cut": cut_connections,
    "connections stalled": stall_connections,
    "connections throttled": throttle_connections,
    "model file replaced": replace_model_file,
    "reader that never reads": stop_reading,
}
"""By the name in the report. What a server learns to survive is added here: a worker process that
is killed, a version that appears in its repository."""


async def inject(scene: Scene, *, seconds: float, pause_seconds: float, seed: int) -> None:
    """One fault after the other, all of them before any comes again, until the time is over."""
    end = time.monotonic() + seconds
    chance = random.Random(seed)
    waiting: list[str] = []
    while time.monotonic() < end:
        if not waiting:
            waiting = chance.sample(list(FAULTS), len(FAULTS))
        name = waiting.pop()
        await FAULTS[name](scene)
        scene.tally.faults[name] += 1
        await asyncio.sleep(pause_seconds)


@asynccontextmanager
async def slow_readers_released(scene: Scene) -> AsyncIterator[None]:
    """Give up the calls that read nothing, when this is left."""
    try:
        yield
    finally:
        for channel in scene.slow_readers:
            await channel.close()


def convert_on_full_disk(
    source: Path, target: Path, tally: Tally, *, max_bytes: int, options: Sequence[str] = ()
) -> None:
    """Run lmscore-convert where no file may be larger, and see what it says and leaves behind."""
    # The process limits itself: between fork and exec, gRPC's threads would be missing here.
    limit = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({max_bytes}, {max_bytes}))"
    command = "from lmscore.models.commands.convert import main; sys.exit(main())"
    code = f"import resource, sys; {limit}; {command}"
    before = set(target.parent.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(target), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    tally.faults["disk full while converting"] += 1
    if done.returncode != 1 or len(done.stderr.splitlines()) != 1:
        tally.problem(f"lmscore-convert ended with {done.returncode}: {done.stderr}")
    if left := set(target.parent.iterdir()) - before:
        tally.problem(f"lmscore-convert left {sorted(map(str, left))}")


class _JumpingTime:
    """The module time, with a wall clock that goes back and forth by days."""

    def __init__(self) -> None:
        self._chance = random.Random(0)

    def time(self) -> float:
        """Seconds since 1970, give or take."""
        return time.time() + self._chance.choice((-1e7, -86_400.0, 0.0, 86_400.0, 1e7))

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


@contextmanager
def jumping_clock(tally: Tally) -> Iterator[None]:
    """The wall clock jumps whenever a module of the project looks; gRPC has one that does not.

    gRPC turns timeouts into times of day for a moment, and a patched clock would make that long.
    """
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("lmscore.") and getattr(module, "time", None) is time
    ]
    if not modules:
        tally.problem("no module has a clock")
    for module in modules:
        setattr(module, "time", _JumpingTime())  # noqa: B010 - modules have no such attribute to mypy
    tally.faults["clock jumps"] += 1
    try:
        yield
    finally:
        for module in modules:
            setattr(module, "time", time)  # noqa: B010 - the same
