"""Generate over gRPC and in process, beside plain PyTorch loops, in one run.

    python benchmarks/generation.py [--seconds 2] [--rounds 2] [--ngram FILE]

The peers are what people write: one step of nn.LSTM, a softmax with temperature, torch.multinomial,
for one text and for a batch of 64, with the
number of threads that suits them best; they turn no token into text. Weights are random. Server and
client are processes of their own on this machine. Rounds alternate, so that a busy machine slows
all alike; the best round of each counts. The n-gram model is estimated from random text with 95,000
words unless a file is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

WORDS, UNITS, LAYERS, NGRAM_WORDS = 10_000, 650, 2, 95_000
TEMPERATURE = 1.0
GOALS = {"64 streams": 30.0, "1 stream": 0.9}
NGRAM_GOALS = {1: 2_000, 32: 5_000}


def plain_loop(module: Any, rows: int, threads: int) -> Callable[[float], float]:
    """The ordinary loop for so many texts; tokens a second within some seconds."""
    import torch

    @torch.inference_mode()
    def run(seconds: float) -> float:
        torch.set_num_threads(threads)
        tokens, state = torch.zeros(rows, 1, dtype=torch.int64), module.initial_state(rows)
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            logits, state = module(tokens, state)
            probs = torch.softmax(logits[:, -1] / TEMPERATURE, -1)
            tokens = torch.multinomial(probs, 1)
            tokens.tolist()
            steps += 1
        return steps * rows / (time.perf_counter() - started)

    return run


def in_process(model: Any, rows: int) -> Callable[[float], float]:
    """The same with the batch that the server uses."""
    from lmscore.models.decoding.batch import DecodingBatch
    from lmscore.models.decoding.parameters import Decoding, Sampling
    from lmscore.models.decoding.rows import NewSequence

    def run(seconds: float) -> float:
        batch = DecodingBatch(model)
        settings = Decoding(Sampling(TEMPERATURE), max_tokens=10**6, min_tokens=10**6)
        batch.add(model.initial_state(rows), [NewSequence(settings, 1, i) for i in range(rows)])
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            batch.step()
            steps += 1
        return steps * rows / (time.perf_counter() - started)

    return run


async def read_streams(address: str, streams: int, seconds: float) -> dict[str, float]:
    """Tokens a second of so many calls, and how long tokens take. For a process of its own."""
    import grpc

    from lmscore.v1 import language_model_service_pb2 as wire
    from lmscore.v1.common_pb2 import ModelSelector
    from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub

    begun, first, gaps = [], [], []
    tokens = 0
    request = wire.GenerateRequest(
        model=ModelSelector(name="m"),
        prompt="w1 w2 w3",
        sampling=wire.Sampling(temperature=TEMPERATURE),
        max_tokens=100_000,
        min_tokens=100_000,
    )

    async def read(stub: Any) -> None:
        nonlocal tokens
        started = time.perf_counter()
        begun.append(started)
        call, last = stub.Generate(request), None
        async for message in call:
            now = time.perf_counter()
            if message.tokens:
                if last is None:
                    first.append(now - started)
                else:
                    gaps.append(now - last)
                last = now
                tokens += len(message.tokens)

    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = LanguageModelServiceStub(channel)
        tasks = [asyncio.create_task(read(stub)) for _ in range(streams)]
        await asyncio.sleep(0.5)
        before, since = tokens, time.perf_counter()
        await asyncio.sleep(seconds)
        rate = (tokens - before) / (time.perf_counter() - since)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    quantiles = np.quantile(first, (0.5, 0.99)).tolist() + np.quantile(gaps, (0.5, 0.99)).tolist()
    names = ("first p50", "first p99", "between p50", "between p99")
    return {"rate": rate, **dict(zip(names, quantiles, strict=True))}


def over_grpc(address: str, streams: int) -> Callable[[float], dict[str, float]]:
    def run(seconds: float) -> dict[str, float]:
        arguments = ["--client", address, "--streams", str(streams), "--seconds", str(seconds)]
        done = subprocess.run(
            [sys.executable, __file__, *arguments], capture_output=True, check=True, text=True
        )
        figures: dict[str, float] = json.loads(done.stdout)
        return figures

    return run


@contextmanager
def server(path: Path, threads: int) -> Iterator[str]:
    """A server's address."""
    arguments = ["--model", f"m={path}", "--listen", "127.0.0.1:0", "--log-format", "json"]
    arguments += ["--device", "cpu", "--dtype", "float32", "--threads", str(threads)]
    arguments += ["--max-generated-tokens", "1000000"]
    command = [sys.executable, "-m", "lmscore.server.launcher", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            event = json.loads(line)
            if event["event"] == "ready":
                yield event["address"]
                break
        process.kill()


def write_network(folder: Path) -> tuple[Any, Any]:
    """A checkpoint of random weights; the same as a plain module and as a model."""
    import torch

    from lmscore.models.loading import load_model
    from lmscore.models.network.checkpoint import write_checkpoint
    from lmscore.models.network.config import NetworkConfig
    from lmscore.models.network.module import NetworkModule
    from lmscore.models.network.placement import Placement
    from lmscore.models.tokenization.spec import TokenizerSpec

    config = NetworkConfig("lstm", WORDS, UNITS, (UNITS,) * LAYERS)
    torch.manual_seed(1)
    module = NetworkModule(config).eval()
    words = ["</s>", "<unk>", *(f"w{i}" for i in range(WORDS - 2))]
    files = {"vocab.txt": "".join(f"{word}\n" for word in words).encode()}
    write_checkpoint(
        folder, config, dict(module.state_dict()), TokenizerSpec("words", "vocab.txt"), files
    )
    return module, load_model(folder, placement=Placement("cpu", "float32", 2))


def write_ngrams(folder: Path) -> Path:
    """A trigram model of words that are as frequent as Zipf's law says."""
    generator = np.random.default_rng(1)
    ranks = np.minimum(generator.zipf(1.25, 600_000), NGRAM_WORDS) - 1
    ranks = np.concatenate((ranks, generator.permutation(NGRAM_WORDS)))
    corpus, path = folder / "corpus.txt", folder / "m.arpa"
    with corpus.open("w") as file:
        for line in np.array_split(ranks, len(ranks) // 18):
            file.write(" ".join(f"w{rank}" for rank in line) + "\n")
    command = [sys.executable, "-m", "lmscore.models.commands.train", "ngram", "--order", "3"]
    subprocess.run([*command, str(corpus), str(path)], check=True, capture_output=True)
    return path


def best(rounds: int, seconds: float, candidates: dict[str, Callable[[float], Any]]) -> Any:
    """The best round of each, after a short one that does not count."""
    found: dict[str, Any] = {}
    for number in range(rounds + 1):
        for name, run in candidates.items():
            figures = run(seconds if number else 0.2)
            rate = figures["rate"] if isinstance(figures, dict) else figures
            known = found.get(name)
            known = known["rate"] if isinstance(known, dict) else known
            if number and (known is None or rate > known):
                found[name] = figures
    return found


def report(name: str, figures: Any, peers: dict[str, float], goal: str = "") -> None:
    rate = figures["rate"] if isinstance(figures, dict) else figures
    ratios = "".join(f"{rate / peer:8.2f}x {what}" for what, peer in peers.items())
    print(f"{name:<38}{rate:>10,.0f} tokens/s{ratios}{goal}", flush=True)
    if isinstance(figures, dict):
        times = (f"{what} {1000 * figures[what]:.1f} ms" for what in figures if what != "rate")
        print(f"{'':<38}{', '.join(times)}")


def compare_network(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lstm"
        module, model = write_network(path)
        with server(path, options.threads) as address:
            found = best(
                options.rounds,
                options.seconds,
                {
                    **{
                        f"plain {rows} {threads}": plain_loop(module, rows, threads)
                        for rows in (1, 64)
                        for threads in range(1, options.threads + 1)
                    },
                    **{f"rows {n}": in_process(model, n) for n in options.streams_list},
                    **{f"grpc {n}": over_grpc(address, n) for n in options.streams_list},
                },
            )
    one, batch = (
        max(found[f"plain {rows} {threads}"] for threads in range(1, options.threads + 1))
        for rows in (1, 64)
    )
    report("plain PyTorch, one text", one, {})
    report("plain PyTorch, a batch of 64", batch, {"one": one})
    for n in options.streams_list:
        report(f"in process, {n} rows", found[f"rows {n}"], {"one": one, "64": batch})
    for n in options.streams_list:
        goal = GOALS.get(f"{n} streams" if n > 1 else "1 stream")
        text = f"   goal {goal:g}x one" if goal else ""
        report(f"over gRPC, {n} streams", found[f"grpc {n}"], {"one": one, "64": batch}, text)


def compare_ngrams(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = options.ngram or write_ngrams(Path(folder))
        with server(path, options.threads) as address:
            candidates = {n: over_grpc(address, n) for n in NGRAM_GOALS}
            found = best(options.rounds, options.seconds, candidates)  # type: ignore[arg-type]
    for n, goal in NGRAM_GOALS.items():
        report(f"n-grams over gRPC, {n} streams", found[n], {}, f"   goal {goal:,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ngram", type=Path, help="n-gram model to use")
    parser.add_argument("--only", choices=["network", "ngram"])
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--streams", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.streams_list = [1, 16, 64]
    if options.client:
        print(
            json.dumps(asyncio.run(read_streams(options.client, options.streams, options.seconds)))
        )
        return
    if options.only != "ngram":
        print(f"LSTM {LAYERS} x {UNITS}, {WORDS:,} words, float32, {options.threads} threads")
        compare_network(options)
    if options.only != "network":
        compare_ngrams(options)


if __name__ == "__main__":
    main()
