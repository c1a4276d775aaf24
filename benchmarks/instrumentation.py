"""What watching costs: Score over loopback, on a server that is watched and one that is not.

    python -m benchmarks.instrumentation [--model FILE.arpa] [--rounds N]

Both servers are in one process on a core of their own, and short rounds alternate between them.
What counts is the CPU time that the process takes for a round: it limits how much it can do, and
other programs disturb it little.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from benchmarks.corpora import documentation
from benchmarks.grpc_scoring import pipelined, score_requests
from benchmarks.machine import ROOT
from benchmarks.result import Goal, Row, Section
from benchmarks.serving import pin, printing
from benchmarks.standalone import run_alone
from benchmarks.timing import in_turns

from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub

LINES = 2000


@dataclass(frozen=True)
class Sizes:
    rounds: int = 300
    requests: int = 50  # of a round
    texts_per_request: int = 100
    model: Path = ROOT / "checkpoints/demo/trigram.arpa.gz"


QUICK = Sizes(rounds=20, requests=20)


def measure(sizes: Sizes) -> Section:
    lines = documentation() * 8
    texts = lines[: sizes.requests * sizes.texts_per_request]
    requests = score_requests(texts, sizes.texts_per_request)
    pin(0)
    with candidates(sizes.model) as both:
        for each in both.values():
            each.round(requests)  # warms up
        turns = {name: _round(each, requests) for name, each in both.items()}
        rounds = in_turns(sizes.rounds, turns)
    rows = [
        _cost(rounds, "processor time of the server for a round", "cpu_seconds", Goal(0.97)),
        _cost(rounds, "elapsed time of a round", "elapsed_seconds", None),
    ]
    rows += [
        Row(f"a line in the log, {form}", "s", tuple(line_seconds(form) for _ in range(3)))
        for form in ("json", "console")
    ]
    text = (
        f"A server with metrics, request ids and at most 20 log lines a second, and one without; "
        f"a round is {len(requests)} requests of {sizes.texts_per_request} texts. A ratio of 0.97 "
        "is a cost of 3 %."
    )
    return Section("What watching costs", text, tuple(rows))


@dataclass(frozen=True)
class Round:
    elapsed_seconds: float
    cpu_seconds: float  # of the server


def _cost(rounds: Mapping[str, Sequence[Round]], what: str, of: str, goal: Goal | None) -> Row:
    ours, theirs = (
        tuple(getattr(each, of) for each in rounds[n]) for n in ("watched", "unwatched")
    )
    return Row(what, "s", ours, "not watched", theirs, less_is_better=True, goal=goal)


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


def _round(each: Candidate, requests: Sequence[wire.ScoreRequest]) -> Callable[[], Round]:
    return lambda: each.round(requests)


@contextmanager
def candidates(model: Path) -> Iterator[dict[str, Candidate]]:
    command = [sys.executable, __file__, "--serve", str(model)]
    with printing(command, core=1) as (ports, process):
        watched, unwatched = (f"127.0.0.1:{port}" for port in ports.split())
        with grpc.insecure_channel(watched) as first, grpc.insecure_channel(unwatched) as second:
            yield {
                "watched": Candidate(process, LanguageModelServiceStub(first).Score.future),
                "unwatched": Candidate(process, LanguageModelServiceStub(second).Score.future),
            }


async def serve(model: Path) -> None:
    """Print the ports of a server that is watched and of one that is not."""
    from lmscore.server.building import build
    from lmscore.server.logs import configure_logs
    from lmscore.server.observability import Observability
    from lmscore.server.settings import Settings

    configure_logs("json")
    given = {"model": [{"name": "m", "path": model}], "listen": "127.0.0.1:0", "threads": 1}
    settings = Settings.model_validate(given)
    servers = [await build(settings), await build(settings, observability=Observability())]
    for server in servers:
        await server.grpc_server.start()
        await server.load_models()
    print(*(server.port for server in servers), flush=True)
    await asyncio.gather(*(server.grpc_server.wait_for_termination() for server in servers))


def line_seconds(form: str) -> float:
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
        for _ in range(LINES):
            log.ended(call, Ending())
        return (time.perf_counter() - started) / LINES


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(Path(sys.argv[2])))
    else:
        run_alone("watching", measure, Sizes(), QUICK)
