"""Score over loopback gRPC beside kenlm's loop in process and beside a raw gRPC echo.

    python -m benchmarks.grpc_scoring [--model FILE.arpa] [--texts FILE] [--rounds N]

The server runs on one core and the client on another, where there are two. Without a model, one is
estimated from the sources of Python's library, whose lines are scored.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from benchmarks.corpora import library_corpus, train_ngrams
from benchmarks.peers import KENLM_ABSENT, module
from benchmarks.result import Goal, Row, Samples, Section
from benchmarks.serving import pin, printing, server
from benchmarks.standalone import run_alone
from benchmarks.timing import in_turns, rates, seconds_of

from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub

IN_FLIGHT = 8
LOOP = "`kenlm.Model.score` in process"


@dataclass(frozen=True)
class Sizes:
    tokens: int = 400_000  # of the text that is scored
    texts_per_request: int = 100
    order: int = 5
    single_calls: int = 500  # of one text each, one after another
    rounds: int = 7
    model: Path | None = None
    texts: Path | None = None


QUICK = Sizes(tokens=40_000, single_calls=100, rounds=3)


def measure(sizes: Sizes) -> Section:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = sizes.texts or library_corpus(folder / "texts.txt", sizes.tokens)
        model = sizes.model or train_ngrams(texts, folder / "model.arpa", sizes.order)
        lines = texts.read_text().splitlines()
        pin(0)
        seconds = _seconds(model, lines, sizes)
    tokens = sum(len(line.split()) + 1 for line in lines)
    text = (
        f"{len(lines):,} texts of {tokens / len(lines):.1f} tokens, {sizes.texts_per_request} a "
        f"request, {IN_FLIGHT} requests in flight; the server on one core, the client on another. "
        "The echo is a `grpc.aio` server that gives back the same bytes and does nothing else."
    )
    return Section("Over gRPC", text, tuple(_rows(seconds, len(lines))))


def _rows(seconds: dict[str, Samples], texts: int) -> Iterator[Row]:
    rate = {name: rates(texts, each) for name, each in seconds.items()}
    absent = "" if "kenlm" in rate else KENLM_ABSENT
    names = {"Score": "echo", "ScoreStream": "echo stream"}
    for name, echo in names.items():
        loop = rate.get("kenlm", ())
        yield Row(f"`{name}`", "texts/s", rate[name], LOOP, loop, goal=Goal(1.0), note=absent)
        yield Row(f"`{name}`", "texts/s", rate[name], f"raw {echo}", rate[echo])
    for echo in names.values():
        yield Row(f"raw {echo}", "texts/s", rate[echo], LOOP, rate.get("kenlm", ()), note=absent)
    yield Row(
        "one text a call, one call at a time", "s", seconds["one text"], "raw echo",
        seconds["one echo"], less_is_better=True,
    )  # fmt: skip


def _seconds(model: Path, texts: list[str], sizes: Sizes) -> dict[str, Samples]:
    requests = score_requests(texts, sizes.texts_per_request)
    stream_requests = [wire.ScoreStreamRequest(score=request) for request in requests]
    payloads = [request.SerializeToString() for request in requests]
    single = score_requests(texts[: sizes.single_calls], 1)
    with (
        server(model, "--threads", "1", core=1) as address,
        echo_server() as echo_address,
        grpc.insecure_channel(address) as channel,
        grpc.insecure_channel(echo_address) as echo_channel,
    ):
        stub = LanguageModelServiceStub(channel)
        echo: Any = echo_channel.unary_unary("/Echo/Echo")
        echo_stream: Any = echo_channel.stream_stream("/Echo/EchoStream")
        candidates: dict[str, Callable[[], float]] = {
            "Score": lambda: pipelined(stub.Score.future, requests),
            "echo": lambda: pipelined(echo.future, payloads),
            "ScoreStream": lambda: streamed(stub.ScoreStream, stream_requests),
            "echo stream": lambda: streamed(echo_stream, payloads),
            "one text": lambda: usual_seconds(stub.Score, single),
            "one echo": lambda: usual_seconds(echo, [r.SerializeToString() for r in single]),
        }
        if (peer := _kenlm_loop(model, texts)) is not None:
            candidates["kenlm"] = peer
        in_turns(1, candidates)  # warms up
        return in_turns(sizes.rounds, candidates)


def score_requests(texts: Sequence[str], each: int) -> list[wire.ScoreRequest]:
    return [
        wire.ScoreRequest(model=ModelSelector(name="m"), texts=texts[i : i + each])
        for i in range(0, len(texts), each)
    ]


def pipelined(call: Callable[[Any], Any], requests: Sequence[Any]) -> float:
    """Seconds for all requests, with a few in flight at a time."""
    started = time.perf_counter()
    pending: list[Any] = []
    for request in requests:
        if len(pending) == IN_FLIGHT:
            pending.pop(0).result()
        pending.append(call(request))
    for future in pending:
        future.result()
    return time.perf_counter() - started


def streamed(call: Callable[[Any], Any], requests: Sequence[Any]) -> float:
    """Seconds for all requests on one stream, which gRPC's flow control paces."""
    started = time.perf_counter()
    answered = sum(1 for _ in call(iter(requests)))
    assert answered == len(requests)
    return time.perf_counter() - started


def usual_seconds(call: Callable[[Any], Any], requests: Sequence[Any]) -> float:
    """The median of calls that are made one after another."""

    def waits(request: Any) -> float:
        return seconds_of(lambda: call(request))

    return median(map(waits, requests))


def _kenlm_loop(model: Path, texts: list[str]) -> Callable[[], float] | None:
    kenlm = module("kenlm")
    if kenlm is None:
        return None
    config = kenlm.Config()
    config.show_progress = False
    loaded = kenlm.Model(str(model), config)

    def run() -> None:
        for text in texts:
            loaded.score(text)

    return lambda: seconds_of(run)


@contextmanager
def echo_server() -> Iterator[str]:
    """The address of a grpc.aio server that takes and returns bytes and does nothing else."""
    with printing([sys.executable, __file__, "--echo"], core=1) as (port, _):
        yield f"127.0.0.1:{port}"


async def run_echo() -> None:
    async def echo(request: bytes, context: object) -> bytes:  # noqa: ARG001
        return request

    async def echo_stream(requests: AsyncIterator[bytes], context: Any) -> None:
        async for request in requests:
            await context.write(request)

    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "EchoStream": grpc.stream_stream_rpc_method_handler(echo_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    if sys.argv[1:] == ["--echo"]:
        asyncio.run(run_echo())
    else:
        run_alone("grpc", measure, Sizes(), QUICK)
