"""What computes a network: rows of a trie, level by level, and the output layer on top of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.module import NO_TOKEN, State
from lmscore.models.network.trie import PrefixTrie


class Level(NamedTuple):
    """The rows begin … end - 1 of a trie, children of the level before."""

    begin: int
    end: int
    distinct: NDArray[np.int64]  # rows of the parents, each once
    ranks: NDArray[np.int64]  # (rows,) place of each row's parent in distinct


def levels(trie: PrefixTrie) -> Iterator[Level]:
    """All levels but the roots."""
    for begin, end in pairwise(trie.level_starts[1:].tolist()):
        parents = trie.parents[begin:end]
        first = np.concatenate(([True], parents[1:] != parents[:-1]))  # equal ones are together
        yield Level(begin, end, parents[first], np.cumsum(first) - 1)


class Backend(ABC):
    """A network placed on a device.

    The top of a state is what the output layer needs of it: the outputs of the last recurrent
    layer, or the tokens that a feed-forward network looks back at.
    """

    def __init__(self, config: NetworkConfig, device: torch.device) -> None:
        self.config = config
        self.device = device

    def initial_state(self, n: int) -> State:
        """The state before any token: zeros, or nothing to look back at."""
        if self.config.context_size is not None:
            shape = (n, self.config.context_size)
            return (torch.full(shape, NO_TOKEN, dtype=torch.int64, device=self.device),)
        sizes = zip(self.config.hidden_sizes, self.config.passed_sizes, strict=True)
        lstm = self.config.kind == "lstm"
        widths = [w for units, passed in sizes for w in ((passed, units) if lstm else (passed,))]
        return tuple(torch.zeros(n, w, dtype=self.state_dtype, device=self.device) for w in widths)

    @property
    @abstractmethod
    def state_dtype(self) -> torch.dtype:
        """The type of the numbers in a recurrent network's states."""

    def top(self, states: State) -> Tensor:
        """What the output layer needs of states."""
        return states[-2 if self.config.kind == "lstm" else -1]

    def run(self, trie: PrefixTrie, roots: State, kept: NDArray[np.int64]) -> tuple[Tensor, State]:
        """The tops of all rows of a trie that begins in roots, and the states of the rows kept."""
        if self.config.kind == "feedforward":
            windows = self._windows(trie, roots[0])
            return windows, (windows[self.indices(kept)],)
        return self._run_layers(trie, roots, kept)

    def indices(self, values: NDArray[np.int64]) -> Tensor:
        """Indices as a tensor on the device."""
        return torch.from_numpy(values).to(self.device)

    @abstractmethod
    def _run_layers(
        self, trie: PrefixTrie, roots: State, kept: NDArray[np.int64]
    ) -> tuple[Tensor, State]: ...

    @abstractmethod
    def event_log_probs(
        self, tops: Tensor, rows: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Log-probability of each token in the row given with it, in nats: (events,).

        NaN for tokens that are not in the vocabulary.
        """

    @abstractmethod
    def next_log_probs(self, tops: Tensor) -> NDArray[np.float32]:
        """Log-probability of every token in every row, in nats: (rows, vocabulary)."""

    def _windows(self, trie: PrefixTrie, roots: Tensor) -> Tensor:
        """The last tokens of each row: (rows, context_size)."""
        windows = np.empty((len(trie), roots.shape[1]), np.int64)
        windows[: trie.roots] = roots.numpy(force=True)
        for begin, end in pairwise(trie.level_starts[1:].tolist()):
            windows[begin:end, :-1] = windows[trie.parents[begin:end], 1:]
            windows[begin:end, -1] = trie.tokens[begin:end]
        return self.indices(windows)


def distinct_rows(windows: Tensor) -> tuple[Tensor, Tensor]:
    """The different rows of a matrix of whole numbers, and which of them each row is."""
    distinct, places = torch.unique(windows, dim=0, return_inverse=True)
    return distinct, places
