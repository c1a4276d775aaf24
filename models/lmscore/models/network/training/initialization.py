"""Weights before training."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmscore.models.network.config import GATES
from lmscore.models.network.module import NetworkModule

_EMBEDDING_RANGE = 0.1


@torch.no_grad()
def initialize(module: NetworkModule, event_counts: NDArray[np.int64]) -> None:
    """Draw all weights, from torch's own generator.

    Recurrences begin as rotations, which neither drown nor swell what passes through them; an LSTM
    begins by remembering; the output layer begins with how often each token occurs: (vocabulary,).
    """
    for name, weights in module.named_parameters():
        _draw(name, weights, GATES.get(module.config.kind, 1))
    if module.config.kind == "lstm":
        for name, bias in module.named_parameters():
            if name.endswith("bias_ih_l0"):
                forget = slice(len(bias) // 4, len(bias) // 2)
                bias[forget] = 1.0  # and bias_hh, which is added to it, 0
    share = (event_counts + 0.5) / (event_counts.sum() + 0.5 * len(event_counts))
    bias = module.get_parameter("output.bias")
    bias.copy_(torch.from_numpy(np.log(share)))


def _draw(name: str, weights: Tensor, gates: int) -> None:
    if weights.ndim == 1:
        nn.init.zeros_(weights)
    elif name == "embedding.weight":
        nn.init.uniform_(weights, -_EMBEDDING_RANGE, _EMBEDDING_RANGE)
    elif name == "output.weight":
        bound = 1 / math.sqrt(weights.shape[1])
        nn.init.uniform_(weights, -bound, bound)
    elif "weight_hh" in name:
        for gate in weights.chunk(gates):
            nn.init.orthogonal_(gate)
    else:
        for gate in weights.chunk(gates if "weight_ih" in name else 1):
            nn.init.xavier_uniform_(gate)
