"""The time series of one model, found once."""

from __future__ import annotations

from collections import deque
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lmscore.models.decoding.rows import FinishReason
from lmscore.models.language_model import BatchScores
from lmscore.server.metrics.catalogue import GenerationMetrics, TextMetrics, WorkMetrics
from lmscore.server.metrics.histogram import Waiting

ABANDONED = "ABANDONED"
"""Why a text ended whose caller left; the other reasons are those of FinishReason."""

_MANY = 4096
"""So many texts are worth a pass over them, which takes a few tenths of a millisecond."""


class OfModel:
    """What is counted of one model; by being made, every time series of it begins at zero."""

    def __init__(
        self, name: str, work: WorkMetrics, texts: TextMetrics, generation: GenerationMetrics
    ) -> None:
        self.texts = ScoredTexts(name, texts)
        self.queue = Waiting(work.queue_duration.labels(name))
        self.compute = Waiting(work.compute_duration.labels(name))
        self.batch_size = Waiting(work.batch_size.labels(name))
        self.batch_tokens = Waiting(work.batch_tokens.labels(name))
        self.first_token = Waiting(generation.first_token.labels(name))
        self.inter_token = Waiting(generation.inter_token.labels(name))
        self.wasted = work.wasted.labels(name)
        self.generated = generation.generated.labels(name)
        self.active = generation.active.labels(name)
        self.waiting = generation.waiting.labels(name)
        reasons = [reason.name for reason in FinishReason if reason is not FinishReason.RUNNING]
        finished = partial(generation.finished.labels, name)
        self.finished = {reason: finished(reason) for reason in (*reasons, ABANDONED)}

    def observe(self) -> None:
        """Count what has only been noted."""
        self.texts.observe()
        for waiting in (
            self.queue,
            self.compute,
            self.batch_size,
            self.batch_tokens,
            self.first_token,
            self.inter_token,
        ):
            waiting.observe()


class ScoredTexts:
    """Texts that were scored and wait to be counted; any thread may add some."""

    def __init__(self, model: str, metrics: TextMetrics) -> None:
        self._scored = metrics.scored.labels(model)
        self._oov = metrics.oov.labels(model)
        self._shared = metrics.shared.labels(model)
        self._perplexity = metrics.perplexity.labels(model)
        self._tokens = metrics.tokens.labels(model)
        # Without what the scores have of each token, which may be much.
        self._waiting: deque[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]]
        self._waiting = deque()
        self._texts = 0  # that wait, about

    def add(self, scores: BatchScores) -> None:
        """Let the texts of a request wait."""
        self._waiting.append((scores.log_probs, scores.token_counts, scores.oov_counts))
        self._texts += len(scores.log_probs)
        if scores.shared_tokens:
            self._shared.inc(scores.shared_tokens)
        if self._texts >= _MANY:
            self.observe()

    def observe(self) -> None:
        """Count those that have come so far."""
        self._texts = 0
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not taken:
            return
        log_probs, token_counts, oov_counts = map(np.concatenate, zip(*taken, strict=True))
        self._scored.inc(int(token_counts.sum()))
        self._oov.inc(int(oov_counts.sum()))
        with np.errstate(over="ignore"):  # an impossible or absurd text has perplexity +inf
            self._perplexity.observe_many(np.exp(-log_probs / np.maximum(token_counts, 1)))
        self._tokens.observe_many(token_counts.astype(float))
