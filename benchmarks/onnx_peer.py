"""The same network in ONNX Runtime, as people would export it from PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.networks import PADDED, Workload, padded_batch
from benchmarks.peers import ONNX_ABSENT, module
from torch import Tensor, nn

from lmscore.models.network.module import NetworkModule

Scorer = Callable[[Workload, int], list[float]]
"""Log-probabilities of the texts, in padded batches of so many."""


class _EventScores(nn.Module):
    """The log-probability of each event, so that no distribution leaves the session."""

    def __init__(self, network: NetworkModule) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, events: Tensor) -> Tensor:
        sizes = self.network.config.hidden_sizes
        state = tuple(torch.zeros(inputs.shape[0], size) for size in sizes for _ in "hc")
        logits, _ = self.network(inputs, state)
        log_probs = torch.log_softmax(logits, -1)
        return log_probs.gather(2, events[:, :, None])[:, :, 0]


def absent() -> str:
    """Why there is no such peer; empty where there is one."""
    there = module("onnx") is not None and module("onnxruntime") is not None
    return "" if there else ONNX_ABSENT


def onnx_scorer(network: NetworkModule, folder: Path, threads: int) -> Scorer:
    """Export the network, open it in ONNX Runtime on the CPU."""
    onnxruntime: Any = module("onnxruntime")
    path = folder / "network.onnx"
    _export(network, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def score(work: Workload, batch: int = PADDED) -> list[float]:
        result: list[float] = []
        for begin in range(0, len(work.ids), batch):
            inputs, events, mask = padded_batch(work.ids[begin : begin + batch])
            feed = {"inputs": inputs.numpy(), "events": events.numpy()}
            result.extend((session.run(None, feed)[0] * mask.numpy()).sum(1).tolist())
        return result

    return score


def _export(network: NetworkModule, path: Path) -> None:
    """By the exporter that traces: the newer one takes a minute for the same graph and speed."""
    axes = {0: "batch", 1: "time"}
    example = torch.zeros(2, 3, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _EventScores(network.cpu()).eval(),
            (example, example),
            str(path),
            input_names=["inputs", "events"],
            dynamic_axes={"inputs": axes, "events": axes},
            dynamo=False,
        )
