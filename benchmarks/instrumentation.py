"""What watching costs: Score over loopback, on a server that is watched and on one that is not.

    python -m benchmarks.instrumentation [--model FILE.arpa] [--rounds N]

Both servers are in one process on a core of their own, and short rounds alternate between them.
What counts is the CPU time that the process takes for a round: it limits how much it can do, and
other programs disturb it little. Printed are the median of the ratios of rounds that follow each
other, with the interval that holds it in 95 of 100 resamplings, and what a line in the log takes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from benchmarks.grpc_scoring import (
    ROOT,
    TEXTS_PER_REQUEST,
    _pin,
    default_texts,
    pipelined,
)

from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub


async def serve(model: Path) -> None:
    """Print the ports of a server that is watched and of one that is not."""
    from lmscore.server.building import build
    from lmscore.server.logs import configure_logs
    from lmscore.server.model_source import ModelSource
    from lmscore.server.observability import Observability
    from lmscore.server.settings import Settings

    configure_logs("json")
    settings = Settings(model=(ModelSource(name="m", path=model),), listen="127.0.0.1:0", threads=1)
    servers = [await build(settings), await build(settings, observability=Observability())]
    for server in servers:
        await server.grpc_server.start()
        await server.load_models()
    print(*(server.port for server in servers), flush=True)
    await asyncio.gather(*(server.grpc_server.wait_for_termination() for server in servers))


@dataclass(frozen=True)
class Round:
    elapsed_seconds: float
    cpu_seconds: float  # of the server


@dataclass(frozen=True)
class Candidate:
    """A server, and how to send it a request."""

    process: int
    call: Callable[[wire.ScoreRequest], Any]

    def round(self, requests: Sequence[wire.ScoreRequest]) -> Round:
        before = self._cpu_seconds()
        elapsed = pipelined(self.call, requests)
        return Round(elapsed, self._cpu_seconds() - before)

    def _cpu_seconds(self) -> float:
        threads = Path(f"/proc/{self.process}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in threads) / 1e9


@contextmanager
def candidates(model: Path) -> Iterator[tuple[Candidate, Candidate]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.instrumentation", "--model", model, "--serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: _pin(1),  # noqa: PLW1509 - it only sets the affinity
    )
    assert process.stdout is not None
    watched, unwatched = (f"127.0.0.1:{port}" for port in process.stdout.readline().split())
    try:
        with grpc.insecure_channel(watched) as first, grpc.insecure_channel(unwatched) as second:
            yield (
                Candidate(process.pid, LanguageModelServiceStub(first).Score.future),
                Candidate(process.pid, LanguageModelServiceStub(second).Score.future),
            )
    finally:
        process.terminate()
        process.wait()


def line_microseconds(form: str) -> float:
    """What the event loop is busy with for one line, written to nowhere."""
    from lmscore.server.call import Call
    from lmscore.server.logs import configure_logs
    from lmscore.server.observer import Ending
    from lmscore.server.request_log import RequestLog

    call = Call("Score", "ipv4:127.0.0.1:50000", model="m", id="0123456789ab-1")
    with Path("/dev/null").open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        configure_logs("json" if form == "json" else "console")
        log = RequestLog(10**9)
        started = time.perf_counter()
        for _ in range(2000):
            log.ended(call, Ending())
        return (time.perf_counter() - started) / 2000 * 1e6


def print_ratios(what: str, pairs: Sequence[tuple[float, float]]) -> None:
    ratios = [watched / unwatched for watched, unwatched in pairs]
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(1000))
    watched, unwatched = (statistics.median(each) * 1e3 for each in zip(*pairs, strict=True))
    print(f"{what} of a round: {watched:.1f} ms watched, {unwatched:.1f} ms unwatched")
    spread = f"95 % within {medians[25]:.3f} and {medians[-26]:.3f}"
    print(f"    watched to unwatched: median {statistics.median(ratios):.3f}, {spread}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "checkpoints/demo/trigram.arpa.gz")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.model))
        return
    texts = default_texts()[: 50 * TEXTS_PER_REQUEST]
    requests = [
        wire.ScoreRequest(model=ModelSelector(name="m"), texts=texts[i : i + TEXTS_PER_REQUEST])
        for i in range(0, len(texts), TEXTS_PER_REQUEST)
    ]
    _pin(0)
    pairs: list[tuple[Round, Round]] = []
    with candidates(options.model) as (watched, unwatched):
        for each in (watched, unwatched):
            each.round(requests)  # warm up
        for i in range(options.rounds):
            if i % 2:  # who comes first changes, too
                first = watched.round(requests)
                pairs.append((first, unwatched.round(requests)))
            else:
                first = unwatched.round(requests)
                pairs.append((watched.round(requests), first))
    print(f"{len(texts)} texts a round, {TEXTS_PER_REQUEST} a request, {options.rounds} rounds")
    print_ratios("CPU time", [(w.cpu_seconds, u.cpu_seconds) for w, u in pairs])
    print_ratios("elapsed time", [(w.elapsed_seconds, u.elapsed_seconds) for w, u in pairs])
    for form in ("json", "console"):
        print(f"a line in the log, {form}: {line_microseconds(form):.0f} microseconds")


if __name__ == "__main__":
    main()
