"""Scoring n-best lists with an LSTM beside plain PyTorch and ONNX Runtime, in process.

    python -m benchmarks.network_scoring [--nbest FILE.jsonl] [--device cuda] [--units 2048]

The peers are what people write: one sentence at a time through nn.LSTM with a full log_softmax, and
padded batches of 64 of the same; and the network exported to ONNX Runtime. The matrix rate is that
of a product of two large matrices in the same precision. Weights are random; the words are those of
the lists. Without a file (or NBEST in the environment), lists are made up that share their
beginnings as much as a recognizer's do. Where there is a GPU, it is measured as well.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.networks import (
    PADDED,
    Shape,
    Workload,
    distinct_prefixes,
    made_up_lists,
    multiplications,
    one_at_a_time,
    padded,
    read_lists,
    workload,
)
from benchmarks.onnx_peer import absent, onnx_scorer
from benchmarks.result import Goal, Row, Samples, Section
from benchmarks.standalone import run_alone
from benchmarks.timing import rates, times

from lmscore.models.network.model import NetworkModel
from lmscore.models.network.placement import MAX_BATCH_TOKENS, Placement, has_fast_bfloat16

ONE = "one text at a time, `nn.LSTM`"
RUNTIME, RUNTIME_ONE = (
    f"ONNX Runtime, padded batches of {PADDED}",
    "ONNX Runtime, one text at a time",
)


@dataclass(frozen=True)
class Sizes:
    lists: int = 200
    list_size: int = 100
    units: int = 650
    layers: int = 2
    vocabulary: int = 10_000
    sample: int = 120  # texts that peers score one at a time
    padded: int = 8  # batches that peers score
    padded_batch: int = PADDED  # texts of each
    matrix: int = 4096
    rounds: int = 3
    threads: int = 2
    batch_tokens: int = MAX_BATCH_TOKENS
    bfloat16: bool = False  # even where it is slow
    device: str = "cpu"
    gpu: str = "cuda"  # measured as well, if it is there; "cpu" tries that without one
    nbest: Path | None = Path(os.environ["NBEST"]) if os.environ.get("NBEST") else None


QUICK = Sizes(
    lists=5, units=128, sample=10, padded=1, matrix=512, rounds=2, vocabulary=2_000
)  # fmt: skip
GPU_SIZES: dict[str, Any] = {"bfloat16": True, "batch_tokens": 1 << 16, "padded_batch": 512}
GPU_SHAPES = (Shape(650, 2, 10_000), Shape(2048, 2, 50_000))


def measure(sizes: Sizes) -> Section:
    lists = read_lists(sizes.nbest) if sizes.nbest else made_up_lists(sizes.lists, sizes.list_size)
    shape = Shape(sizes.units, sizes.layers, sizes.vocabulary)
    work = workload(shape, lists)
    rows = list(device_rows(work, sizes))
    rows += gpu_rows(lists, sizes)
    prefixes = distinct_prefixes(work)
    text = (
        f"An LSTM of {shape}, random weights, on {len(lists)} n-best lists: {work.events:,} "
        f"tokens, {prefixes:,} distinct prefixes ({work.events / prefixes:.2f} times fewer); "
        f"{sizes.threads} threads. Peers score a part of the lists."
    )
    return Section("Networks", text, tuple(rows))


def device_rows(work: Workload, sizes: Sizes) -> Iterator[Row]:
    """One network on one device: rates, and how far results are apart."""
    rows = _Comparison(work, sizes)
    with tempfile.TemporaryDirectory() as name:
        seconds = rows.seconds(Path(name))
    yield from rows.rate_rows(seconds)
    yield from rows.difference_rows()


def gpu_rows(lists: list[list[str]], sizes: Sizes) -> Iterator[Row]:
    """The same on the GPU, for a small and a large network."""
    kind = torch.device(sizes.gpu).type
    if kind == "cuda" and not torch.cuda.is_available():
        yield Row("on a GPU", "tokens/s", (), note="there is no GPU that torch can use here")
        return
    name = torch.cuda.get_device_name() if kind == "cuda" else kind
    shapes = GPU_SHAPES if kind == "cuda" else (Shape(sizes.units, sizes.layers, sizes.vocabulary),)
    for shape in shapes:
        there = replace(sizes, device=sizes.gpu, **(GPU_SIZES if kind == "cuda" else {}))
        for row in device_rows(workload(shape, lists), there):
            if not row.note:
                yield replace(row, what=f"{name}, {shape}: {row.what}", goal=None)


class _Comparison:
    """A network in each precision that is tried, and the parts of the lists that peers score."""

    def __init__(self, work: Workload, sizes: Sizes) -> None:
        self.work, self.sizes = work, sizes
        placement = Placement(sizes.device, "float32", sizes.threads, sizes.batch_tokens)
        self.device = placement.torch_device()
        chance = random.Random(2)
        ids = work.ids
        self.few = chance.sample(range(len(ids)), min(sizes.sample, len(ids)))
        self.sample = work.of([ids[i] for i in self.few])
        self.some = work.of(ids[: sizes.padded_batch * sizes.padded])
        mixed = chance.sample(ids, min(2_000, len(ids)))
        self.mixed = work.of([chance.sample(text, len(text)) for text in mixed])
        self.mixed_few = self.mixed.of(self.mixed.ids[: max(1, sizes.sample // 2)])
        fast = sizes.bfloat16 or has_fast_bfloat16(self.device)
        self.models = {
            dtype: NetworkModel(work.checkpoint, replace(placement, dtype=dtype))
            for dtype in ("float32", *(["bfloat16"] if fast else []))
        }

    def seconds(self, folder: Path) -> dict[str, Samples]:
        """Of each candidate, in rounds that alternate."""
        exact = self.models["float32"]
        candidates: dict[str, Callable[[], object]] = {
            "one": lambda: one_at_a_time(self.sample, self.device),
            "mixed one": lambda: one_at_a_time(self.mixed_few, self.device),
            "mixed": lambda: exact.score(self.mixed.batch),
        }
        for dtype, model in self.models.items():
            candidates[dtype] = partial(model.score, self.work.batch)
            candidates[f"matrix {dtype}"] = self._product(getattr(torch, dtype))
            candidates[f"padded {dtype}"] = self._padded(getattr(torch, dtype))
        if not absent() and self.device.type == "cpu":
            runtime = onnx_scorer(self.work.module, folder, self.sizes.threads)
            candidates["onnx"] = lambda: runtime(self.some, PADDED)
            candidates["onnx one"] = lambda: runtime(self.sample, 1)
        threads = self.sizes.threads
        return times(self.sizes.rounds, {n: _with(threads, run) for n, run in candidates.items()})

    def rate_rows(self, seconds: dict[str, Samples]) -> Iterator[Row]:
        one = rates(self.sample.events, seconds["one"])
        batch = f"padded batches of {self.sizes.padded_batch}"
        pads = {dtype: rates(self.some.events, seconds[f"padded {dtype}"]) for dtype in self.models}
        yield Row(f"{batch} of plain PyTorch", "tokens/s", pads["float32"], ONE, one)
        goals = {"float32": (Goal(33.0), Goal(4.5)), "bfloat16": (Goal(100.0), None)}
        for dtype in self.models:
            ours = rates(self.work.events, seconds[dtype])
            yield Row(f"lists, {dtype}", "tokens/s", ours, ONE, one, goal=goals[dtype][0])
            peer = f"{batch}, `nn.LSTM`, {dtype}"
            yield Row(f"lists, {dtype}", "tokens/s", ours, peer, pads[dtype], goal=goals[dtype][1])
        yield from self._runtime_rows(seconds)
        mixed = rates(self.mixed.events, seconds["mixed"])
        alone = rates(self.mixed_few.events, seconds["mixed one"])
        what = "words shuffled, so that nothing is shared"
        yield Row(what, "tokens/s", mixed, ONE, alone, goal=Goal(5.0))
        for dtype in self.models:
            yield self._work_row(dtype, seconds)
        if "bfloat16" not in self.models:
            why = f"this {self.device.type.upper()} has no instructions for bfloat16"
            yield Row("lists, bfloat16", "tokens/s", (), ONE, goal=goals["bfloat16"][0], note=why)

    def _runtime_rows(self, seconds: dict[str, Samples]) -> Iterator[Row]:
        ours = rates(self.work.events, seconds["float32"])
        parts = {RUNTIME: ("onnx", self.some), RUNTIME_ONE: ("onnx one", self.sample)}
        why = absent() or "it runs on the CPU alone here"
        for peer, (name, part) in parts.items():
            there = rates(part.events, seconds.get(name, ()))
            yield Row("lists, float32", "tokens/s", ours, peer, there, note="" if there else why)

    def _work_row(self, dtype: str, seconds: dict[str, Samples]) -> Row:
        """Arithmetic a second, counted as if each distinct prefix took all products."""
        each = 2 * multiplications(self.work.checkpoint.config)
        ours = rates(each * distinct_prefixes(self.work), seconds[dtype])
        matrix = rates(2 * self.sizes.matrix**3, seconds[f"matrix {dtype}"])
        peer = f"a product of {self.sizes.matrix} x {self.sizes.matrix}"
        goal = Goal(0.8)
        return Row(f"over distinct prefixes, {dtype}", "FLOP/s", ours, peer, matrix, goal=goal)

    def difference_rows(self) -> Iterator[Row]:
        """How far log-probabilities of texts are apart at most."""
        scores = self.models["float32"].score(self.work.batch).log_probs
        expected = np.array(one_at_a_time(self.sample, self.device))
        worst = np.abs(scores[self.few] - expected).max()
        what, goal = "largest difference from one at a time, float32", Goal(1e-4, at_most=True)
        yield Row(what, "nats a text", (float(worst),), goal=goal)
        if "bfloat16" in self.models:
            rough = self.models["bfloat16"].score(self.work.batch).log_probs
            what, goal = "largest difference of bfloat16 from float32", Goal(0.01, at_most=True)
            yield Row(what, "nats a text", (float(np.abs(rough - scores).max()),), goal=goal)

    def _padded(self, dtype: torch.dtype) -> Callable[[], object]:
        work = self.some._replace(module=deepcopy(self.work.module).to(dtype))
        return lambda: padded(work, self.device, self.sizes.padded_batch)

    def _product(self, dtype: torch.dtype) -> Callable[[], object]:
        size = (self.sizes.matrix, self.sizes.matrix)
        left = torch.randn(size, device=self.device, dtype=dtype)
        right = torch.randn(size, device=self.device, dtype=dtype)

        def multiply() -> None:
            torch.mm(left, right)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)

        return multiply


def _with(threads: int, run: Callable[[], object]) -> Callable[[], object]:
    """Peers are given as many threads as ours takes, which may have changed the setting."""

    def in_threads() -> object:
        torch.set_num_threads(threads)
        return run()

    return in_threads


if __name__ == "__main__":
    run_alone("network", measure, Sizes(), QUICK)
