"""Generate over gRPC and in process, beside plain PyTorch loops.

    python -m benchmarks.generation [--seconds 2] [--rounds 3] [--ngram FILE]

The peers are what people write: one step of nn.LSTM, a softmax with temperature, torch.multinomial,
for one text and for a batch of 64, with the number of threads that suits them best; they turn no
token into text. Weights are random. Server and client are processes of their own on this machine.
The n-gram model is estimated from random text unless a file is given.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from benchmarks.corpora import train_ngrams
from benchmarks.formats import amount
from benchmarks.result import Goal, Row, Samples, Section, Table
from benchmarks.serving import server
from benchmarks.standalone import run_alone
from benchmarks.streams import TEMPERATURE, Flow, over_grpc
from benchmarks.timing import in_turns

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
    units=128, vocabulary=2_000, streams=(1, 16), ngram_tokens=20_000, ngram_words=5_000,
    seconds=0.2, rounds=1,
)  # fmt: skip


def measure(sizes: Sizes) -> Section:
    network, ngrams = network_flows(sizes), ngram_flows(sizes)
    rows = (*_network_rows(network, sizes), *_ngram_rows(ngrams, sizes))
    waits = [_waits(f"LSTM, {streams(n)}", network[f"gRPC {n}"]) for n in sizes.streams]
    waits += [_waits(f"n-grams, {streams(n)}", ngrams[str(n)]) for n in sizes.ngram_streams]
    text = (
        f"An LSTM of {sizes.layers} x {sizes.units} units and {sizes.vocabulary:,} words, float32, "
        f"and n-grams; temperature {TEMPERATURE:g}, {sizes.threads} threads. The plain loop is a "
        "step of `nn.LSTM`, a softmax and `torch.multinomial`. Over gRPC, client and server share "
        "the cores."
    )
    columns = ("over gRPC", "first token p50 / p99", "between tokens p50 / p99")
    return Section(
        "Generation", text, rows, (Table(columns, tuple(waits), before="How long tokens take"),)
    )


def network_flows(sizes: Sizes) -> dict[str, tuple[Flow, ...]]:
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
            return flows_of(sizes, candidates)


def _network_rows(flows: Mapping[str, Sequence[Flow]], sizes: Sizes) -> Iterator[Row]:
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


def ngram_flows(sizes: Sizes) -> dict[str, tuple[Flow, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        path = sizes.ngram or write_ngrams(Path(folder), sizes.ngram_tokens, sizes.ngram_words)
        with server(path, "--threads", str(sizes.threads), *ENDLESS) as address:
            return flows_of(sizes, {str(n): over_grpc(address, n) for n in sizes.ngram_streams})


def _ngram_rows(flows: Mapping[str, Sequence[Flow]], sizes: Sizes) -> Iterator[Row]:
    for n in sizes.ngram_streams:
        name = f"n-grams over gRPC, {streams(n)}"
        yield Row(name, "tokens/s", rates_of(flows[str(n)]), goal=NGRAM_GOALS.get(n))


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


def _waits(name: str, flows: Sequence[Flow]) -> tuple[str, str, str]:
    """The medians of the rounds."""

    def both(of: str) -> str:
        middle = (median(getattr(flow, of)[place] for flow in flows) for place in (0, 1))
        return " / ".join(amount(seconds, "s") for seconds in middle)

    return name, both("first"), both("between")


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


if __name__ == "__main__":
    run_alone("generation", measure, Sizes(), QUICK)
