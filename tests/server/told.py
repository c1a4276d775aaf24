"""Metrics that have been told of everything once; light to import, for processes of their own."""

from __future__ import annotations

import math
from dataclasses import replace

import grpc
import numpy as np
from prometheus_client import CollectorRegistry

from lmscore.models.language_model import BatchScores
from lmscore.server.call import Call
from lmscore.server.metrics.metrics import Metrics
from lmscore.server.observer import Ending
from lmscore.server.repository import ServedModel
from tests.server.bigrams import characters


def one_score(log_prob: float, tokens: int) -> BatchScores:
    log_probs, counts = np.array([log_prob]), np.array([tokens])
    return BatchScores(log_probs, log_probs, counts, np.zeros(1, np.int64), shared_tokens=1)


def told_of_everything() -> Metrics:
    """Of a model named tiny."""
    metrics = Metrics(CollectorRegistry())
    served = ServedModel("tiny", 1, "ab" * 32, characters())
    metrics.announced("tiny")
    metrics.loaded(served, 0.5)
    metrics.load_failed("tiny")
    calls = [Call("Score", "nobody", model="tiny"), Call("Generate", "nobody")]
    for call in calls:
        metrics.began(call, {})
    metrics.ended(replace(calls[0], trace_id="00f067aa0ba902b7"), Ending())
    metrics.ended(calls[1], Ending(grpc.StatusCode.INTERNAL, "INTERNAL"))
    metrics.scored("tiny", one_score(-2.0, 4))
    metrics.scored("tiny", one_score(-math.inf, 4))
    metrics.batch("tiny", 3, 40, 0.002)
    metrics.queued("tiny", 0.0004)
    metrics.depth("ngram", 2, 30)
    metrics.wasted("tiny", 5)
    metrics.refused("QUEUE_FULL")
    metrics.first_token("tiny", 0.02)
    metrics.next_tokens("tiny", 0.001, 3)
    metrics.generated("tiny", [])
    metrics.abandoned("tiny", 1)
    metrics.generations("tiny", 4, 1)
    metrics.refresh()
    return metrics
