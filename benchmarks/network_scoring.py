"""Scoring n-best lists with an LSTM beside plain PyTorch, in process, in one run.

    python benchmarks/network_scoring.py [--nbest FILE.jsonl] [--device cuda] [--units 2048]

The peers are what people write: one sentence at a time through nn.LSTM with a full log_softmax, and
padded batches of 64 of the same. The matrix rate is that of a product of two 4096 x 4096 matrices
in float32. Weights are random; the words are those of the lists. Without a file, lists are made up
that share their beginnings as much as a recognizer's do. Rounds alternate, so that a busy machine
slows all alike; the best round of each counts.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lmscore.models.language_model import ScoreBatch, Texts, TokenSequences
from lmscore.models.network.checkpoint import Checkpoint
from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.model import NetworkModel
from lmscore.models.network.module import NetworkModule
from lmscore.models.network.placement import MAX_BATCH_TOKENS, Placement, has_fast_bfloat16
from lmscore.models.network.scoring import events_of, paths_of
from lmscore.models.network.trie import build_trie
from lmscore.models.tokenization.tokenizer import SpecialIds
from lmscore.models.tokenization.words import WordTokenizer

END = 0
PADDED = 64
MATRIX = 4096


class Workload(NamedTuple):
    checkpoint: Checkpoint
    module: NetworkModule
    ids: list[list[int]]  # events of each text but its end

    @property
    def batch(self) -> ScoreBatch:
        offsets = np.concatenate(([0], np.cumsum([len(text) for text in self.ids])))
        return ScoreBatch(
            TokenSequences(np.array([i for text in self.ids for i in text], np.int64), offsets)
        )

    @property
    def events(self) -> int:
        return sum(len(text) + 1 for text in self.ids)


def read_lists(path: Path) -> list[list[str]]:
    lines = path.read_text().splitlines()
    return [[hypothesis[0] for hypothesis in json.loads(line)["hyps"]] for line in lines]


def made_up_lists(lists: int = 200, size: int = 100, words: int = 10) -> list[list[str]]:
    """Lists whose hypotheses differ from another one of the list in one or two places."""
    generator = random.Random(1)

    def word() -> str:
        return f"w{min(int(generator.paretovariate(0.6)), 9_000)}"

    made = []
    for _ in range(lists):
        length = max(2, int(generator.gauss(words, 3)))
        hypotheses = [[word() for _ in range(length)]]
        while len(hypotheses) < size:
            changed = list(generator.choice(hypotheses[:12]))
            for _ in range(generator.choice((1, 1, 2))):
                changed[int(length * generator.random() ** 0.6)] = word()
            hypotheses.append(changed)
        made.append([" ".join(hypothesis) for hypothesis in hypotheses])
    return made


def workload(options: argparse.Namespace, lists: list[list[str]]) -> Workload:
    counts = Counter(word for texts in lists for text in texts for word in text.split())
    vocabulary = ["</s>", "<unk>", *(word for word, _ in counts.most_common())]
    vocabulary += [f"filler-{i}" for i in range(options.vocabulary - len(vocabulary))]
    tokenizer = WordTokenizer(vocabulary[: options.vocabulary], SpecialIds(END, END, 1))
    config = NetworkConfig(
        "lstm", options.vocabulary, options.units, (options.units,) * options.layers
    )
    torch.manual_seed(1)
    module = NetworkModule(config).eval()
    encoded = tokenizer.encode(Texts.from_strings([text for texts in lists for text in texts]))
    ids = np.split(encoded.token_ids, encoded.offsets[1:-1])
    checkpoint = Checkpoint(config, dict(module.state_dict()), tokenizer)
    return Workload(checkpoint, module, [text.tolist() for text in ids])


@torch.inference_mode()
def one_at_a_time(work: Workload, chosen: list[int], device: torch.device) -> list[float]:
    """The ordinary loop: each text through the network, then a softmax over the vocabulary."""
    module, result = work.module.to(device), []
    for i in chosen:
        inputs = torch.tensor([[END, *work.ids[i]]], device=device)
        logits, _ = module(inputs, module.initial_state(1))
        log_probs = torch.log_softmax(logits[0], -1)
        events = torch.tensor([*work.ids[i], END], device=device)
        result.append(log_probs.gather(1, events[:, None]).sum().item())
    return result


@torch.inference_mode()
def padded(work: Workload, chosen: list[int], device: torch.device) -> list[float]:
    """The ordinary batch: texts padded to the longest, a softmax, a mask."""
    module, result = work.module.to(device), []
    for begin in range(0, len(chosen), PADDED):
        texts = [work.ids[i] for i in chosen[begin : begin + PADDED]]
        longest = max(map(len, texts)) + 1
        inputs = torch.tensor([[END, *t, *[END] * (longest - len(t) - 1)] for t in texts])
        events = torch.tensor([[*t, *[END] * (longest - len(t))] for t in texts]).to(device)
        mask = torch.arange(longest) <= torch.tensor([len(t) for t in texts])[:, None]
        logits, _ = module(inputs.to(device), module.initial_state(len(texts)))
        log_probs = torch.log_softmax(logits, -1).gather(2, events[:, :, None])[:, :, 0]
        result.extend((log_probs * mask.to(device)).sum(1).tolist())
    return result


def matrix_product(device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    left = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
    right = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)

    def multiply() -> None:
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return multiply


def best_times(
    rounds: int, threads: int, candidates: dict[str, Callable[[], object]]
) -> dict[str, float]:
    """Seconds of the best round of each, after one that does not count."""
    best = dict.fromkeys(candidates, float("inf"))
    for number in range(rounds + 1):
        for name, candidate in candidates.items():
            torch.set_num_threads(threads)
            started = time.perf_counter()
            candidate()
            if number:
                best[name] = min(best[name], time.perf_counter() - started)
    return best


def distinct_prefixes(work: Workload, batch: ScoreBatch) -> int:
    events = events_of(batch, work.checkpoint.tokenizer)
    paths = paths_of(None, TokenSequences(events.ids, events.offsets), END)
    return len(build_trie(paths, 1)) - 1


def multiplications(config: NetworkConfig) -> int:
    """Of one prefix in all layers."""
    shapes = config.shapes()
    return sum(
        shape[0] * shape[1]
        for name, shape in shapes.items()
        if len(shape) == 2 and not name.startswith("embedding")
    )


def report(name: str, rate: float, unit: str, ratios: dict[str, float]) -> None:
    compared = "   ".join(f"{ratio:6.2f}x {peer}" for peer, ratio in ratios.items())
    print(f"{name:<44}{rate:>12,.0f} {unit:<10}{compared}", flush=True)


def compare(options: argparse.Namespace, lists: list[list[str]]) -> None:
    work = workload(options, lists)
    placement = Placement(options.device, "float32", options.threads, options.batch_tokens)
    device = placement.torch_device()
    generator = random.Random(2)
    few = generator.sample(range(len(work.ids)), options.sample)
    half = list(range(options.sample // 2))
    some = list(range(min(len(work.ids), PADDED * options.padded)))
    shuffled = Workload(
        work.checkpoint,
        work.module,
        [generator.sample(text, len(text)) for text in generator.sample(work.ids, 2_000)],
    )
    model = NetworkModel(work.checkpoint, placement)
    dtypes = ["bfloat16"] if has_fast_bfloat16(device) or options.bfloat16 else []
    others = {
        dtype: NetworkModel(
            work.checkpoint, Placement(str(device), dtype, options.threads, options.batch_tokens)
        )
        for dtype in dtypes
    }
    batch = work.batch
    candidates: dict[str, Callable[[], object]] = {
        "one": lambda: one_at_a_time(work, few, device),
        "padded": lambda: padded(work, some, device),
        "matrix": matrix_product(device, torch.float32),
        "shuffled one": lambda: one_at_a_time(shuffled, half, device),
        "ours": lambda: model.score(batch),
        "shuffled ours": lambda: model.score(shuffled.batch),
        **{dtype: partial(m.score, batch) for dtype, m in others.items()},
    }
    seconds = best_times(options.rounds, options.threads, candidates)

    def events(work: Workload, chosen: list[int]) -> int:
        return sum(len(work.ids[i]) + 1 for i in chosen)

    one = events(work, few) / seconds["one"]
    batches = events(work, some) / seconds["padded"]
    rate = work.events / seconds["ours"]
    report("one sentence at a time, nn.LSTM", one, "tokens/s", {})
    report(f"padded batches of {PADDED}", batches, "tokens/s", {"one at a time": batches / one})
    report("lmscore, float32", rate, "tokens/s", {"one": rate / one, "padded": rate / batches})
    for dtype in dtypes:
        fast = work.events / seconds[dtype]
        report(f"lmscore, {dtype}", fast, "tokens/s", {"one": fast / one, "padded": fast / batches})
    alone = events(shuffled, half) / seconds["shuffled one"]
    together = shuffled.events / seconds["shuffled ours"]
    report("shuffled words, one at a time", alone, "tokens/s", {})
    report("shuffled words, lmscore", together, "tokens/s", {"one": together / alone})
    prefixes = distinct_prefixes(work, batch)
    flops = 2 * prefixes * multiplications(work.checkpoint.config)
    matrix = 2 * MATRIX**3 / seconds["matrix"]
    report("matrix product, float32", matrix / 1e9, "GFLOP/s", {})
    achieved = flops / seconds["ours"]
    report(
        "lmscore over distinct prefixes", achieved / 1e9, "GFLOP/s", {"matrix": achieved / matrix}
    )
    print(f"{work.events:,} tokens, {prefixes:,} distinct prefixes: {work.events / prefixes:.2f}")
    scores = model.score(batch).log_probs
    expected = one_at_a_time(work, few, device)
    worst = max(abs(scores[i] - e) for i, e in zip(few, expected, strict=True))
    print(f"largest difference from one at a time, float32: {worst:.1e} nats a text")
    for dtype, other in others.items():
        rough = other.score(batch).log_probs
        print(f"largest difference of {dtype}: {np.abs(rough - scores).max():.1e} nats a text")


def resident() -> int:
    """Bytes of memory that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_memory(options: argparse.Namespace, lists: list[list[str]]) -> None:
    """Prints what scoring 10,000 texts adds to the memory of a loaded model."""
    work = workload(options, lists)
    placement = Placement(options.device, "float32", options.threads, options.batch_tokens)
    model = NetworkModel(work.checkpoint, placement)
    texts = (work.ids * (10_000 // len(work.ids) + 1))[:10_000]
    batch = Workload(work.checkpoint, work.module, texts).batch
    model.score(Workload(work.checkpoint, work.module, texts[:10]).batch)
    before, most = resident(), 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    model.score(batch)
    done.set()
    watcher.join()
    print(
        f"10,000 texts: {(most - before) / 2**20:,.0f} MiB above the {before / 2**20:,.0f} MiB of "
        f"a loaded model, {options.batch_tokens} prefixes at once"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nbest", type=Path, help="lists as JSON lines")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--units", type=int, default=650)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=10_000)
    parser.add_argument("--batch-tokens", type=int, default=MAX_BATCH_TOKENS)
    parser.add_argument("--sample", type=int, default=120, help="texts scored one at a time")
    parser.add_argument("--padded", type=int, default=10, help="padded batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bfloat16", action="store_true", help="even where it is slow")
    parser.add_argument("--memory", action="store_true", help="measure nothing but memory")
    options = parser.parse_args()
    lists = read_lists(options.nbest) if options.nbest else made_up_lists()
    if options.memory:
        peak_memory(options, lists)
        return
    print(
        f"LSTM {options.layers} x {options.units}, vocabulary {options.vocabulary:,}, "
        f"{options.device}, {options.threads} threads"
    )
    compare(options, lists)
    subprocess.run([sys.executable, __file__, *sys.argv[1:], "--memory"], check=True)


if __name__ == "__main__":
    main()
