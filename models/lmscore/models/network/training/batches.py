"""Batches of token ids: sentences of about one length, or streams that run through a text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmscore.models.network.training.settings import DataSettings
from lmscore.models.network.training.tokens import Sentences

NO_EVENT = -1
"""The target where nothing is predicted: the padding after a sentence."""

_POOL_BATCHES = 64  # as many batches of sentences are sorted by length at once


@dataclass(frozen=True, slots=True)
class Batch:
    """What is read, and what is to be predicted after each token; NO_EVENT where nothing is."""

    inputs: Tensor  # (batch, time)
    targets: Tensor  # (batch, time)
    first: bool  # whether its rows begin from the initial state, or where the last batch ended

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(self.inputs.to(device), self.targets.to(device), self.first)


class Batches(ABC):
    """The batches of a text, in an order that the epoch alone decides."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many there are in an epoch."""

    @abstractmethod
    def epoch(self, number: int, begin: int = 0) -> Iterator[Batch]:
        """Those of an epoch from some batch on."""

    @abstractmethod
    def in_order(self) -> Iterator[Batch]:
        """Those to measure on, in an order that is always the same."""


class SentenceBatches(Batches):
    """Every sentence is a row of its own from bos on; those of one length come together."""

    def __init__(self, sentences: Sentences, batch_size: int, seed: int) -> None:
        self._sentences = sentences
        self._lengths = np.diff(sentences.offsets)
        self._size = batch_size
        self._seed = seed

    @property
    def count(self) -> int:
        """How many there are in an epoch."""
        return -(-len(self._sentences) // self._size)

    def epoch(self, number: int, begin: int = 0) -> Iterator[Batch]:
        """Shuffled anew for each epoch: which sentences are together, and the order of batches."""
        random = np.random.default_rng((self._seed, number))
        order = random.permutation(len(self._sentences))
        for pool in range(0, len(order), self._size * _POOL_BATCHES):
            piece = order[pool : pool + self._size * _POOL_BATCHES]
            piece[:] = piece[np.argsort(self._lengths[piece], kind="stable")]
        for index in random.permutation(self.count)[begin:]:
            yield self._batch(order[index * self._size : (index + 1) * self._size])

    def in_order(self) -> Iterator[Batch]:
        """By length."""
        order = np.argsort(self._lengths, kind="stable")
        for begin in range(0, len(order), self._size):
            yield self._batch(order[begin : begin + self._size])

    def _batch(self, chosen: NDArray[np.int64]) -> Batch:
        events = self._lengths[chosen] - 1  # (batch,)
        steps = np.arange(events.max())
        inside = steps < events[:, None]  # (batch, time)
        places = self._sentences.offsets[chosen][:, None] + np.where(inside, steps, 0)
        inputs = self._sentences.ids[places].astype(np.int64)
        targets = np.where(inside, self._sentences.ids[places + 1].astype(np.int64), NO_EVENT)
        return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), first=True)


class StreamBatches(Batches):
    """The text in a few streams of equal length, cut into windows that carry their state on.

    Where bos is eos, a stream reads each once between two sentences.
    """

    def __init__(self, sentences: Sentences, streams: int, time_steps: int) -> None:
        streams = min(streams, sentences.events)
        self._steps = -(-sentences.events // streams)
        self._window = time_steps
        read = np.ones(len(sentences.ids), np.bool_)
        read[sentences.offsets[1:] - 1] = False
        event = np.ones(len(sentences.ids), np.bool_)
        event[sentences.offsets[:-1]] = False
        self._inputs = self._rows(sentences.ids[read], streams, 0)  # (streams, steps)
        self._targets = self._rows(sentences.ids[event], streams, NO_EVENT)

    @property
    def count(self) -> int:
        """How many there are in an epoch."""
        return -(-self._steps // self._window)

    def epoch(self, number: int, begin: int = 0) -> Iterator[Batch]:  # noqa: ARG002 all are alike
        """The windows one after the other."""
        for window in range(begin, self.count):
            here = slice(window * self._window, (window + 1) * self._window)
            inputs = torch.from_numpy(self._inputs[:, here].astype(np.int64))
            targets = torch.from_numpy(self._targets[:, here].astype(np.int64))
            yield Batch(inputs, targets, first=window == 0)

    def in_order(self) -> Iterator[Batch]:
        """The windows one after the other."""
        return self.epoch(0)

    def _rows(self, ids: NDArray[np.int32], streams: int, filler: int) -> NDArray[np.int32]:
        padded = np.full(streams * self._steps, filler, np.int32)
        padded[: len(ids)] = ids
        return padded.reshape(streams, self._steps)


def make_batches(sentences: Sentences, settings: DataSettings, seed: int) -> Batches:
    """The batches that the settings ask for."""
    if settings.mode == "sentence":
        return SentenceBatches(sentences, settings.batch_size, seed)
    return StreamBatches(sentences, settings.batch_size, settings.time_steps)
