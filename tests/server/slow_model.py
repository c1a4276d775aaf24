"""A model whose steps can be held, counted, and made to fail."""

from __future__ import annotations

import threading
import time

import numpy as np
from numpy.typing import NDArray

from lmscore.models.language_model import TokenSequences
from tests.server.bigrams import BigramModel, characters


class SlowModel(BigramModel):
    """Characters whose distributions come only after a while, one step after the other."""

    def __init__(self, seconds: float = 0.0, *, exclusive: bool = True) -> None:
        model = characters()
        super().__init__(model.tokenizer, np.exp(model.log_probs))
        self.exclusive = exclusive  # type: ignore[misc]
        self.seconds = seconds
        self.go = threading.Event()
        self.go.set()
        self.steps = 0
        self.rows: list[int] = []  # of each step
        self.pieces: list[int] = []  # tokens of prompts, at once
        self.poison = -1  # a token id after which nothing can be told
        self.failures: list[Exception] = []  # of the next steps
        self.most_rows = 1000  # that memory is enough for
        self.most_copied = 1000  # the same for copies of states

    def next_log_probs(self, states: NDArray[np.int64]) -> NDArray[np.float64]:
        assert self.go.wait(timeout=60)
        time.sleep(self.seconds)
        self.steps += 1
        self.rows.append(len(states))
        if self.failures:
            raise self.failures.pop(0)
        if (states == self.poison).any():
            raise ZeroDivisionError("poison")
        if len(states) > self.most_rows:
            raise MemoryError
        return super().next_log_probs(states)

    def gather(self, states: NDArray[np.int64], indices: NDArray[np.int64]) -> NDArray[np.int64]:
        if len(indices) > self.most_copied:
            raise MemoryError
        return super().gather(states, indices)

    def read_tokens(self, states: NDArray[np.int64], tokens: TokenSequences) -> NDArray[np.int64]:
        self.pieces.append(len(tokens.ids))
        if (tokens.ids == self.poison).any():
            raise ZeroDivisionError("poison")
        return super().read_tokens(states, tokens)
