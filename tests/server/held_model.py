"""A model that scores when it is told to."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TypeVar

import numpy as np

from lmscore.models.language_model import BatchScores, ScoreBatch
from tests.server.bigrams import BigramModel, characters
from tests.server.harness import Connection

Model = TypeVar("Model", bound=BigramModel)


class HeldModel(BigramModel):
    """Characters whose scores come only when it may go on, or not at all."""

    def __init__(self, failure: Exception | None = None) -> None:
        model = characters()
        super().__init__(model.tokenizer, np.exp(model.log_probs))
        self.started, self.go = threading.Event(), threading.Event()
        self.failure = failure

    def score(self, batch: ScoreBatch) -> BatchScores:
        self.started.set()
        if self.failure is not None:
            raise self.failure
        assert self.go.wait(timeout=60)
        return super().score(batch)


def serve_instead(connection: Connection, model: Model) -> Model:
    """Let a model answer under the name of the one that the server has."""
    served = connection.server.repository.find("tiny", None)
    connection.server.repository.add(replace(served, model=model))
    return model
