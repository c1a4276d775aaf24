"""What watching costs: Score over loopback, on a server that is watched and on one that is not.

    python -m benchmarks.instrumentation [--model FILE.arpa] [--rounds N]

Both servers are there all the time, on the same core, and rounds alternate between them. What
counts is the CPU time that a server takes for a round: it limits how much the server can do, and
other programs disturb it little. Printed are the median and the quartiles of the ratios of rounds
that follow each other, the same of elapsed times, and what a request's line in the log takes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
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


async def serve(model: Path, *, watched: bool) -> None:
    from lmscore.server.lifecycle import build
    from lmscore.server.logs import configure_logs
    from lmscore.server.observability import Observability
    from lmscore.server.settings import ModelSource, Settings

    configure_logs("json")
    settings = Settings(model=(ModelSource(name="m", path=model),), listen="127.0.0.1:0", threads=1)
    server = await build(settings, None if watched else Observability())
    await server.grpc_server.start()
    await server.load_models()
    print(server.port, flush=True)
    await server.grpc_server.wait_for_termination()


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
def candidate(model: Path, mode: str) -> Iterator[Candidate]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.instrumentation", "--model", model, "--serve", mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: _pin(1),  # noqa: PLW1509 - it only sets the affinity
    )
    assert process.stdout is not None
    address = f"127.0.0.1:{process.stdout.readline().strip()}"
    try:
        with grpc.insecure_channel(address) as channel:
            yield Candidate(process.pid, LanguageModelServiceStub(channel).Score.future)
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
    low, middle, high = statistics.quantiles([w / u for w, u in pairs], n=4)
    watched, unwatched = (statistics.median(each) * 1e3 for each in zip(*pairs, strict=True))
    print(f"{what} of a round: {watched:.0f} ms watched, {unwatched:.0f} ms unwatched")
    print(f"    watched to unwatched: median {middle:.3f}, quartiles {low:.3f} and {high:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "checkpoints/demo/trigram.arpa.gz")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--serve", choices=["watched", "unwatched"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.model, watched=options.serve == "watched"))
        return
    texts = default_texts()
    requests = [
        wire.ScoreRequest(model=ModelSelector(name="m"), texts=texts[i : i + TEXTS_PER_REQUEST])
        for i in range(0, len(texts), TEXTS_PER_REQUEST)
    ]
    _pin(0)
    pairs: list[tuple[Round, Round]] = []
    with (
        candidate(options.model, "watched") as watched,
        candidate(options.model, "unwatched") as unwatched,
    ):
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
