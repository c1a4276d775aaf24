"""Small sentences of token ids, and networks for them, to train in tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.module import NetworkModule
from lmscore.models.network.training.loss import Computing
from lmscore.models.network.training.tokens import Sentences

VOCABULARY = 7  # 0 is both bos and eos
KINDS = ("feedforward", "rnn", "gru", "lstm")
ON_CPU = Computing(torch.device("cpu"), mixed=False, time_steps=64)


def sentences_of(rows: Sequence[Sequence[int]]) -> Sentences:
    """Rows without their marks as sentences."""
    marked = [[0, *row, 0] for row in rows]
    ids = np.array([token for row in marked for token in row], np.int32)
    return Sentences(ids, np.cumsum([0, *map(len, marked)]))


def random_rows(count: int, seed: int = 0, longest: int = 9) -> list[list[int]]:
    """Rows of different lengths."""
    random = np.random.default_rng(seed)
    return [
        random.integers(1, VOCABULARY, random.integers(1, longest + 1)).tolist()
        for _ in range(count)
    ]


def tiny_config(kind: str, **changes: object) -> NetworkConfig:
    """A network of a kind, with sizes that all differ."""
    values: dict[str, object] = {"embedding_size": 5, "hidden_sizes": (6, 4)} | changes
    if kind == "feedforward":
        values |= {"context_size": 3}
    return NetworkConfig(kind, VOCABULARY, **values)  # type: ignore[arg-type]


def tiny_module(kind: str, seed: int = 0, **changes: object) -> NetworkModule:
    """Its module in double precision, with random weights."""
    torch.manual_seed(seed)
    return NetworkModule(tiny_config(kind, **changes)).double()
