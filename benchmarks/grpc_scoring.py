"""Score over loopback gRPC beside kenlm's loop in process and beside a raw gRPC echo.

    python benchmarks/grpc_scoring.py [--model FILE.arpa] [--texts FILE] [--rounds N]

The server runs on one core and the client on another, where there are two. Rounds of the three
candidates alternate, so that a busy machine slows them alike; the best round of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub

ROOT = Path(__file__).resolve().parents[1]
TEXTS_PER_REQUEST = 100
IN_FLIGHT = 8


CORES = sorted(os.sched_getaffinity(0))


def _pin(core: int) -> None:
    os.sched_setaffinity(0, {CORES[core % len(CORES)]})


@contextmanager
def lmscore_server(model: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "lmscore.server.launcher", "--model", f"m={model}"]
    process = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--log-format", "json", "--threads", "1"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: _pin(1),  # noqa: PLW1509 - it only sets the affinity
    )
    assert process.stderr is not None
    for line in process.stderr:
        event = json.loads(line)
        if event["event"] == "ready":
            break
    try:
        yield event["address"]
    finally:
        process.terminate()
        process.wait()


@contextmanager
def echo_server() -> Iterator[str]:
    """A grpc.aio server that takes and returns bytes and does nothing else."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--echo"],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: _pin(1),  # noqa: PLW1509
    )
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


def run_echo() -> None:
    import asyncio

    async def echo(request: bytes, context: object) -> bytes:  # noqa: ARG001
        return request

    async def echo_stream(requests: AsyncIterator[bytes], context: Any) -> None:
        async for request in requests:
            await context.write(request)

    async def main() -> None:
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

    asyncio.run(main())


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


def kenlm_loop(model: Path, texts: list[str]) -> Callable[[], float] | None:
    try:
        import kenlm
    except ModuleNotFoundError:
        return None
    loaded = kenlm.Model(str(model))

    def run() -> float:
        started = time.perf_counter()
        for text in texts:
            loaded.score(text)
        return time.perf_counter() - started

    return run


def default_texts() -> list[str]:
    corpus = [sys.executable, str(ROOT / "checkpoints/demo/corpus.py")]
    printed = subprocess.run(corpus, stdout=subprocess.PIPE, text=True, check=True).stdout
    return printed.splitlines() * 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "checkpoints/demo/trigram.arpa.gz")
    parser.add_argument(
        "--texts", type=Path, help="one text a line; default: CPython's documentation"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--echo", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.echo:
        run_echo()
        return
    texts = options.texts.read_text().splitlines() if options.texts else default_texts()
    requests = [
        wire.ScoreRequest(model=ModelSelector(name="m"), texts=texts[i : i + TEXTS_PER_REQUEST])
        for i in range(0, len(texts), TEXTS_PER_REQUEST)
    ]
    stream_requests = [wire.ScoreStreamRequest(score=request) for request in requests]
    payloads = [request.SerializeToString() for request in requests]
    _pin(0)
    with (
        lmscore_server(options.model) as address,
        echo_server() as echo_address,
        grpc.insecure_channel(address) as channel,
        grpc.insecure_channel(echo_address) as echo_channel,
    ):
        score = LanguageModelServiceStub(channel).Score.future
        echo: Any = echo_channel.unary_unary("/Echo/Echo")
        score_stream = LanguageModelServiceStub(channel).ScoreStream
        echo_stream: Any = echo_channel.stream_stream("/Echo/EchoStream")
        candidates: dict[str, Callable[[], float]] = {
            "lmscore Score": lambda: pipelined(score, requests),
            "lmscore ScoreStream": lambda: streamed(score_stream, stream_requests),
            "raw echo, unary": lambda: pipelined(echo.future, payloads),
            "raw echo, stream": lambda: streamed(echo_stream, payloads),
        }
        peer = kenlm_loop(options.model, texts)
        if peer is not None:
            candidates["kenlm in process"] = peer
        best = dict.fromkeys(candidates, float("inf"))
        for _ in range(options.rounds):
            for name, candidate in candidates.items():
                best[name] = min(best[name], candidate())
    tokens = sum(len(text.split()) + 1 for text in texts)
    print(f"{len(texts)} texts, {tokens} tokens, {TEXTS_PER_REQUEST} texts a request")
    reference = best.get("kenlm in process")
    for name, seconds in best.items():
        ratio = f"{reference / seconds:8.2f} x kenlm in process" if reference else ""
        print(
            f"{name:20} {len(texts) / seconds:12,.0f} texts/s {tokens / seconds:12,.0f} tokens/s"
            f"{ratio}"
        )


if __name__ == "__main__":
    main()
