"""Generate over gRPC and in process, beside plain PyTorch loops.

    python -m benchmarks.generation [--seconds 2] [--rounds 3] [--ngram FILE]

The peers are what people write: one step of nn.LSTM, a softmax with temperature, torch.multinomial,
for one text and for a batch of 64, with the number of threads that suits them best; they turn no
token into text. Weights are random. Server and client are processes of their own on this machine.
The n-gram model is estimated from random text unless a file is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.corpora import train_ngrams
from benchmarks.result import Goal, Row, Samples, Section
from benchmarks.serving import server
from benchmarks.standalone import run_alone
from benchmarks.timing import in_turns

TEMPERATURE = 1.0
BATCH = 64
LOOP, LOOP_64 = "a plain loop of one text", f"a plain loop of {BATCH} texts"
STREAM_GOALS = {1: Goal(0.9), 64: Goal(30.0)}
NGRAM_GOALS = {1: Goal(2_000), 32: Goal(5_000)}
ENDLESS = ("--max-generated-tokens", "1000000")


@dataclass(frozen=True)
class Sizes:
    units: int = 650
    layers: int = 2
    vocabulary: int = 10_000
    streams: tuple[int, ...] = (1, 16, 64)
    ngram_tokens: int = 600_000
    ngram_words: int = 95_000
    ngram_streams: tuple[int, ...] = (1, 32)
    seconds: float = 2.0
    rounds: int = 3
    threads: int = 2
    ngram: Path | None = None


QUICK = Sizes(
    units=256, vocabulary=5_000, streams=(1, 64), ngram_tokens=60_000, ngram_words=10_000,
    seconds=0.5, rounds=1,
)  # fmt: skip


@dataclass(frozen=True)
class Flow:
    """What streams gave in a round."""

    rate: float  # tokens a second
    first: tuple[float, float] = (0.0, 0.0)  # seconds to the first token, p50 and p99
    between: tuple[float, float] = (0.0, 0.0)  # seconds between two tokens, likewise


def measure(sizes: Sizes) -> Section:
    rows = [*network_rows(sizes), *ngram_rows(sizes)]
    text = (
        f"An LSTM of {sizes.layers} x {sizes.units} units and {sizes.vocabulary:,} words, float32, "
        f"and n-grams; temperature {TEMPERATURE:g}, {sizes.threads} threads. The plain loop is a "
        "step of `nn.LSTM`, a softmax and `torch.multinomial`. Over gRPC, client and server share "
        "the cores."
    )
    return Section("Generation", text, tuple(rows))


def network_rows(sizes: Sizes) -> Iterator[Row]:
    from benchmarks.networks import Shape, write_network

    from lmscore.models.loading import load_model
    from lmscore.models.network.placement import Placement

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lstm"
        module = write_network(path, Shape(sizes.units, sizes.layers, sizes.vocabulary))
        model = load_model(path, placement=Placement("cpu", "float32", sizes.threads))
        options = ("--device", "cpu", "--dtype", "float32", "--threads", str(sizes.threads))
        with server(path, *options, *ENDLESS) as address:
            candidates: dict[str, Callable[[float], Flow]] = {
                **{f"{LOOP} {n}": plain_loop(module, 1, n) for n in _counts(sizes.threads)},
                **{f"{LOOP_64} {n}": plain_loop(module, BATCH, n) for n in _counts(sizes.threads)},
                **{f"in process {n}": in_process(model, n) for n in sizes.streams},
                **{f"gRPC {n}": over_grpc(address, n) for n in sizes.streams},
            }
            flows = flows_of(sizes, candidates)
    one, many = (_best(flows, peer) for peer in (LOOP, LOOP_64))
    yield Row(LOOP_64, "tokens/s", many, LOOP, one)
    for n in sizes.streams:
        name = f"in process, {texts(n)}"
        yield Row(name, "tokens/s", rates_of(flows[f"in process {n}"]), LOOP, one)
    for n in sizes.streams:
        rate, name = rates_of(flows[f"gRPC {n}"]), f"over gRPC, {streams(n)}"
        yield Row(name, "tokens/s", rate, LOOP, one, goal=STREAM_GOALS.get(n))
        if n >= BATCH:
            yield Row(name, "tokens/s", rate, LOOP_64, many)
    for n in sizes.streams:
        yield from _waiting_rows(f"over gRPC, {streams(n)}", flows[f"gRPC {n}"])


def ngram_rows(sizes: Sizes) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = sizes.ngram or write_ngrams(Path(folder), sizes.ngram_tokens, sizes.ngram_words)
        with server(path, "--threads", str(sizes.threads), *ENDLESS) as address:
            candidates = {str(n): over_grpc(address, n) for n in sizes.ngram_streams}
            flows = flows_of(sizes, candidates)
    for n in sizes.ngram_streams:
        name, flow = f"n-grams over gRPC, {streams(n)}", flows[str(n)]
        yield Row(name, "tokens/s", rates_of(flow), goal=NGRAM_GOALS.get(n))
        yield from _waiting_rows(name, flow)


def flows_of(
    sizes: Sizes, candidates: Mapping[str, Callable[[float], Flow]]
) -> dict[str, tuple[Flow, ...]]:
    """Of each round, after a short one that does not count."""

    def during(run: Callable[[float], Flow], seconds: float) -> Callable[[], Flow]:
        return lambda: run(seconds)

    in_turns(1, {name: during(run, 0.2) for name, run in candidates.items()})
    timed = {name: during(run, sizes.seconds) for name, run in candidates.items()}
    return in_turns(sizes.rounds, timed)


def rates_of(flows: Sequence[Flow]) -> Samples:
    return tuple(flow.rate for flow in flows)


def texts(count: int) -> str:
    return f"{count} text{'s' if count > 1 else ''}"


def streams(count: int) -> str:
    return f"{count} stream{'s' if count > 1 else ''}"


def _best(flows: Mapping[str, Sequence[Flow]], peer: str) -> Samples:
    """With the number of threads that suits it best in each round."""
    found = [rates_of(each) for name, each in flows.items() if name.rpartition(" ")[0] == peer]
    return tuple(max(of_round) for of_round in zip(*found, strict=True))


def _counts(threads: int) -> range:
    return range(1, threads + 1)


def _waiting_rows(name: str, flows: Sequence[Flow]) -> Iterator[Row]:
    for what, of in (("to the first token", "first"), ("between tokens", "between")):
        for place, quantile in enumerate(("p50", "p99")):
            samples = tuple(getattr(flow, of)[place] for flow in flows)
            yield Row(f"{name}: {what}, {quantile}", "s", samples, less_is_better=True)


def plain_loop(module: Any, rows: int, threads: int) -> Callable[[float], Flow]:
    """The ordinary loop for so many texts."""
    import torch

    @torch.inference_mode()
    def run(seconds: float) -> Flow:
        torch.set_num_threads(threads)
        tokens, state = torch.zeros(rows, 1, dtype=torch.int64), module.initial_state(rows)
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            logits, state = module(tokens, state)
            probs = torch.softmax(logits[:, -1] / TEMPERATURE, -1)
            tokens = torch.multinomial(probs, 1)
            tokens.tolist()
            steps += 1
        return Flow(steps * rows / (time.perf_counter() - started))

    return run


def in_process(model: Any, rows: int) -> Callable[[float], Flow]:
    """The same with the batch that the server uses."""
    from lmscore.models.decoding.batch import DecodingBatch
    from lmscore.models.decoding.parameters import Decoding, Sampling
    from lmscore.models.decoding.rows import NewSequence

    def run(seconds: float) -> Flow:
        batch = DecodingBatch(model)
        settings = Decoding(Sampling(TEMPERATURE), max_tokens=10**6, min_tokens=10**6)
        batch.add(model.initial_state(rows), [NewSequence(settings, 1, i) for i in range(rows)])
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            batch.step()
            steps += 1
        return Flow(steps * rows / (time.perf_counter() - started))

    return run


def over_grpc(address: str, count: int) -> Callable[[float], Flow]:
    """So many streams, read by a process of their own."""

    def run(seconds: float) -> Flow:
        command = [sys.executable, __file__, "--client", address]
        command += ["--streams", str(count), "--seconds", str(seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        figures = json.loads(done.stdout)
        return Flow(figures["rate"], tuple(figures["first"]), tuple(figures["between"]))

    return run


async def read_streams(address: str, count: int, seconds: float) -> dict[str, object]:
    """Tokens a second of so many calls, and how long tokens take."""
    import grpc

    from lmscore.v1 import language_model_service_pb2 as wire
    from lmscore.v1.common_pb2 import ModelSelector
    from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub

    first: list[float] = []
    gaps: list[float] = []
    tokens, begun = 0, asyncio.Event()
    request = wire.GenerateRequest(
        model=ModelSelector(name="m"),
        prompt="w1 w2 w3",
        sampling=wire.Sampling(temperature=TEMPERATURE),
        max_tokens=100_000,
        min_tokens=100_000,
    )

    async def read(stub: Any) -> None:
        nonlocal tokens
        started, last = time.perf_counter(), None
        async for message in stub.Generate(request):
            now = time.perf_counter()
            if message.tokens:
                if last is None:
                    first.append(now - started)
                    if len(first) == count:
                        begun.set()
                else:
                    gaps.append(now - last)
                last = now
                tokens += len(message.tokens)

    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = LanguageModelServiceStub(channel)
        tasks = [asyncio.create_task(read(stub)) for _ in range(count)]
        await asyncio.wait([asyncio.create_task(begun.wait()), *tasks], return_when=FIRST_COMPLETED)
        before, since = tokens, time.perf_counter()
        await asyncio.sleep(seconds)
        rate = (tokens - before) / (time.perf_counter() - since)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    both = (np.quantile(of, (0.5, 0.99)).tolist() for of in (first, gaps))
    return {"rate": rate, **dict(zip(("first", "between"), both, strict=True))}


def write_ngrams(folder: Path, tokens: int, words: int) -> Path:
    """A trigram model of words that are as frequent as Zipf's law says."""
    generator = np.random.default_rng(1)
    ranks = np.minimum(generator.zipf(1.25, tokens), words) - 1
    ranks = np.concatenate((ranks, generator.permutation(words)))
    corpus = folder / "corpus.txt"
    with corpus.open("w") as file:
        for line in np.array_split(ranks, len(ranks) // 18):
            file.write(" ".join(f"w{rank}" for rank in line) + "\n")
    return train_ngrams(corpus, folder / "m.arpa", 3)


def read_as_client() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--client", required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(read_streams(options.client, options.streams, options.seconds))))


if __name__ == "__main__":
    if "--client" in sys.argv:
        read_as_client()
    else:
        run_alone("generation", measure, Sizes(), QUICK)
