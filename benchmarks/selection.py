"""Choosing next tokens beside the ordinary way in PyTorch, on one core.

    python benchmarks/selection.py [--rows 1 16 64 512] [--vocabularies 10000 95000]

Rows are log-probabilities of a Zipf-like distribution whose tokens are in random order, so that
likely ones are spread over the row. The ordinary way sorts (top-p) or takes torch.topk, then
torch.multinomial; both start from float32 log-probabilities. Rounds alternate, so that a busy
machine slows both alike; the best call of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
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
ROUND_SECONDS = 0.15


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


def best_seconds(*candidates: Callable[[], object]) -> list[float]:
    """Of each, the best call of many in alternating rounds."""
    best = [float("inf")] * len(candidates)
    for _ in range(3):
        for i, call in enumerate(candidates):
            end = time.perf_counter() + ROUND_SECONDS
            while (begin := time.perf_counter()) < end:
                call()
                best[i] = min(best[i], time.perf_counter() - begin)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64, 512])
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[10_000, 95_000])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'method':26}{'vocabulary':>11}{'rows':>6}{'ours ms':>9}{'torch ms':>9}{'ratio':>7}")
    for vocabulary_size in arguments.vocabularies:
        for rows in arguments.rows:
            log_probs = zipf_rows(rows, vocabulary_size)
            for name, sampling in METHODS.items():
                mine, theirs = best_seconds(
                    ours(log_probs, sampling), in_torch(log_probs, sampling)
                )
                print(
                    f"{name:26}{vocabulary_size:11,}{rows:6}{mine * 1e3:9.3f}{theirs * 1e3:9.3f}"
                    f"{theirs / mine:7.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
