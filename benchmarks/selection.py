"""Choosing next tokens beside the ordinary way in PyTorch, on one core.

    python -m benchmarks.selection [--rows 1 16 64 512] [--vocabularies 10000 95000]

Rows are log-probabilities of a Zipf-like distribution whose tokens are in random order, so that
likely ones are spread over the row. The ordinary way sorts (top-p) or takes torch.topk, then
torch.multinomial; both start from float32 log-probabilities.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from benchmarks.result import Row, Section
from benchmarks.standalone import run_alone
from benchmarks.timing import in_turns
from numpy.typing import NDArray

from lmscore.models.decoding.parameters import Sampling
from lmscore.models.decoding.selection import Changes, Filters, IdLists, select_tokens
from lmscore.models.decoding.weights import Scratch

METHODS = {
    "greedy": Sampling(top_k=1),
    "temperature 0.8": Sampling(0.8),
    "top-k 50": Sampling(top_k=50),
    "top-p 0.9": Sampling(top_p=0.9),
    "min-p 0.05": Sampling(min_p=0.05),
    "0.8, top-k 50, top-p 0.9": Sampling(0.8, 50, 0.9),
}


@dataclass(frozen=True)
class Sizes:
    rows: tuple[int, ...] = (1, 64)
    vocabularies: tuple[int, ...] = (10_000, 95_000)
    round_seconds: float = 0.1
    rounds: int = 5


QUICK = Sizes(rows=(16,), vocabularies=(10_000,), round_seconds=0.02, rounds=2)


def measure(sizes: Sizes) -> Section:
    torch.set_num_threads(1)
    rows = tuple(_rows(sizes))
    text = (
        "Tokens for rows of log-probabilities, one core. PyTorch sorts or takes `torch.topk`, then "
        "`torch.multinomial`. The best call of each round counts."
    )
    return Section("Choosing tokens", text, rows)


def _rows(sizes: Sizes) -> Iterator[Row]:
    for size in sizes.vocabularies:
        for count in sizes.rows:
            log_probs = zipf_rows(count, size)
            for name, sampling in METHODS.items():
                calls = {"ours": ours(log_probs, sampling), "torch": in_torch(log_probs, sampling)}
                best = {name: _best(call, sizes.round_seconds) for name, call in calls.items()}
                found = in_turns(sizes.rounds, best)
                what = f"{name}, {count} × {size:,}"  # noqa: RUF001 - rows by columns
                yield Row(what, "s", found["ours"], "PyTorch", found["torch"], less_is_better=True)


def _best(call: Callable[[], object], seconds: float) -> Callable[[], float]:
    """The shortest of the calls that fit into some seconds, two at least."""

    def run() -> float:
        best, count, end = float("inf"), 0, time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end or count < 2:
            call()
            best, count = min(best, time.perf_counter() - begin), count + 1
        return best

    return run


def zipf_rows(rows: int, vocabulary_size: int) -> NDArray[np.float32]:
    """Zipf's law with an exponent and an order of its own for each row."""
    random = np.random.default_rng(0)
    log_ranks = np.log(np.arange(1, vocabulary_size + 1))
    log_probs = np.empty((rows, vocabulary_size), np.float32)
    for row in log_probs:
        logits = -random.uniform(1.0, 1.6) * random.permutation(log_ranks)
        row[:] = logits - np.log(np.exp(logits).sum())
    return log_probs


def ours(log_probs: NDArray[np.float32], sampling: Sampling) -> Callable[[], object]:
    rows = len(log_probs)
    filters = Filters(
        np.full(rows, sampling.temperature),
        np.full(rows, sampling.top_k or 0),
        np.full(rows, sampling.top_p),
        np.full(rows, sampling.min_p),
    )
    none = IdLists(np.empty((rows, 0), np.int64), np.zeros(rows, np.int64))
    changes = Changes(np.ones(rows), none, none, none, np.zeros(rows, np.bool_))
    numbers = np.random.default_rng(1).random(rows)
    scratch = Scratch.of(log_probs.shape[1])
    every_row = np.arange(rows)
    return lambda: select_tokens(log_probs, every_row, filters, changes, numbers, scratch)


def in_torch(log_probs: NDArray[np.float32], sampling: Sampling) -> Callable[[], object]:
    tensor = torch.from_numpy(log_probs)

    def choose() -> torch.Tensor:
        if sampling.top_k == 1:
            return tensor.argmax(dim=-1)
        logits, ids = tensor / sampling.temperature, None
        if sampling.top_k:
            logits, ids = torch.topk(logits, sampling.top_k)
        elif sampling.top_p < 1:
            logits, ids = torch.sort(logits, descending=True)
        probs = torch.softmax(logits, dim=-1)
        if sampling.top_p < 1:
            probs = probs.masked_fill(probs.cumsum(-1) - probs >= sampling.top_p, 0.0)
        if sampling.min_p:
            probs = probs.masked_fill(probs < sampling.min_p * probs.amax(-1, keepdim=True), 0.0)
        drawn = torch.multinomial(probs, 1)
        return drawn if ids is None else ids.gather(-1, drawn)

    return choose


if __name__ == "__main__":
    run_alone("selection", measure, Sizes(), QUICK)
