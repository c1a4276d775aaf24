"""Prompts that are being read, many at once and the long ones in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmscore.models.language_model import LanguageModel, TokenSequences
from lmscore.server.generation.call import Call


class PromptReader:
    """Reads so many tokens at a time, shared among the prompts; the short ones are done first."""

    def __init__(self, model: LanguageModel[Any]) -> None:
        self._model = model
        self._readings: dict[int, _Reading] = {}  # by number of the call

    def __len__(self) -> int:
        return len(self._readings)

    def add(self, call: Call) -> None:
        """Begin with a prompt."""
        self._readings[call.number] = _Reading(call, self._model.initial_state(1, bos=False))

    def remove(self, number: int) -> None:
        """Give a prompt up, if it is being read."""
        self._readings.pop(number, None)

    def calls(self) -> list[Call]:
        """Those whose prompts are being read, the ones that are nearest to their end first."""
        nearest = sorted(self._readings.values(), key=lambda reading: reading.left)
        return [reading.call for reading in nearest]

    def shares(self, budget: int) -> dict[int, int]:
        """How many tokens of which prompts come next, by number of the call."""
        calls = self.calls()
        shares = {}
        for i, call in enumerate(calls):
            left = self._readings[call.number].left
            share = min(left, -(-budget // (len(calls) - i)))
            if share or not left:
                shares[call.number] = share
            budget -= share
        return shares

    def read(self, shares: dict[int, int], calls: Sequence[Call]) -> tuple[list[Call], Any]:
        """Read the next tokens of some prompts; those that are done, and the states after them.

        If the model raises, all are as they were.
        """
        readings = [self._readings[call.number] for call in calls]
        pieces = [reading.piece(shares[reading.call.number]) for reading in readings]
        offsets = np.cumsum([0, *map(len, pieces)])
        states = self._model.read_tokens(
            self._model.concatenate([reading.state for reading in readings]),
            TokenSequences(np.concatenate(pieces), offsets),
        )
        left = zip(readings, pieces, strict=True)
        done = [i for i, (reading, piece) in enumerate(left) if reading.left == len(piece)]
        done_states = self._model.gather(states, np.array(done, int))
        own = [self._model.gather(states, np.array([i])) for i in range(len(readings))]
        for reading, piece, state in zip(readings, pieces, own, strict=True):  # nothing raises now
            reading.at += len(piece)
            reading.state = state
        for i in done:
            self.remove(readings[i].call.number)
        return [readings[i].call for i in done], done_states


class _Reading:
    """A prompt, and how far it has been read."""

    def __init__(self, call: Call, state: Any) -> None:
        self.call = call
        self.state = state  # after what was read: (1,)
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.call.wanted.ids) - self.at

    def piece(self, size: int) -> Any:
        return self.call.wanted.ids[self.at : self.at + size]
