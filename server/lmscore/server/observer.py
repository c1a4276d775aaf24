"""What the server tells of its work to whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc

from lmscore.models.decoding.text_batch import Event
from lmscore.models.language_model import BatchScores
from lmscore.server.call import Call
from lmscore.server.repository import ServedModel


@dataclass(slots=True)
class Ending:
    """How a call ended."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""  # of an error: INVALID_FIELD and so on


class CallWatcher(Protocol):
    """Is told of every call when it begins and when it ends; must be quick and not raise."""

    def began(self, call: Call, metadata: Mapping[str, str]) -> None:
        """A call has come, with this metadata."""

    def ended(self, call: Call, ending: Ending) -> None:
        """It is over."""


class Observer:
    """Is told what the models do. This one keeps nothing of it.

    Models go by the names that the repository has for them. The methods that are told of batches
    may be called on any thread, the others on the event loop.
    """

    def announced(self, model: str) -> None:
        """A model is going to be loaded; from now on its name is known."""

    def loaded(self, served: ServedModel, seconds: float) -> None:
        """A model can answer, after so long."""

    def load_failed(self, model: str) -> None:
        """A model could not be read."""

    def unloaded(self, served: ServedModel) -> None:
        """A model answers no more."""

    def scored(self, model: str, scores: BatchScores) -> None:
        """Texts of a request have been scored."""

    def first_token(self, model: str, seconds: float) -> None:
        """A call of Generate had to wait so long for its first token."""

    def next_tokens(self, model: str, seconds: float, count: int) -> None:
        """So many tokens of a text came after the ones before, each in so long on average."""

    def generated(self, model: str, events: Sequence[Event]) -> None:
        """Tokens and ends of texts are about to be sent."""

    def abandoned(self, model: str, texts: int) -> None:
        """A call was over before so many of its texts had ended."""

    def generations(self, model: str, active: int, waiting: int) -> None:
        """So many texts grow now, and so many calls wait for a place."""

    def batch(self, model: str, requests: int, tokens: int, compute_seconds: float) -> None:
        """A model has computed so many tokens for so many requests at once."""

    def queued(self, model: str, seconds: float) -> None:
        """A request waited so long before its work began."""

    def depth(self, queue: str, requests: int, tokens: int) -> None:
        """So much waits in a queue, or runs, now."""

    def wasted(self, model: str, tokens: int) -> None:
        """So many tokens were computed for callers who had gone."""

    def refused(self, reason: str) -> None:
        """A queue had no room for some work."""
