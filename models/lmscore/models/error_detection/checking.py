"""Errors in texts: found, and with what would fit better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.error_detection import alternatives
from lmscore.models.error_detection.alternatives import Alternative, find_alternatives
from lmscore.models.error_detection.detection import (
    Criterion,
    ErrorSpan,
    find_errors,
    scored_words,
    unexpectedness,
)
from lmscore.models.language_model import LanguageModel, ScoreBatch
from lmscore.models.tokenization.word_spans import WordScores

MAX_RESCORED_BYTES = 1 << 27
"""How much text is scored again for the alternatives of a batch; texts that come later have none.
A small n-gram model does that in some ten seconds."""


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """What is an error, and what is to be found out of it."""

    criterion: Criterion
    threshold: float  # nats
    alternatives: int = 5  # at most so many of each span
    spelling: bool = False  # whether to look among the words that are spelled alike


@dataclass(frozen=True, slots=True)
class CheckedTexts:
    """What was found in a batch of texts."""

    log_probs: NDArray[np.float64]  # (texts,) nats
    token_counts: NDArray[np.int64]  # (texts,)
    words: WordScores
    unexpectedness: NDArray[np.float64]  # (words,) nats
    spans: list[ErrorSpan]  # in the texts' order
    alternatives: list[list[Alternative]]  # of each span
    too_many: frozenset[int]  # texts with so many errors that there are no alternatives


def check_texts(
    model: LanguageModel[Any], batch: ScoreBatch, settings: CheckSettings
) -> CheckedTexts:
    """Check a batch of texts that is to be scored per token.

    Raises CapabilityError if alternatives are asked for of a model that can only score or has no
    names for its tokens, or spellings of one whose tokens are no words.
    """
    scores = model.score(batch)
    words = scored_words(batch, scores)
    figures = unexpectedness(model, batch, words, settings.criterion)
    spans = find_errors(words, figures, settings.threshold, eos=batch.eos)
    too_many = _over_budget(batch, spans) if settings.alternatives else frozenset[int]()
    asked = [span for span in spans if settings.alternatives and span.text not in too_many]
    found = iter(
        find_alternatives(
            model,
            batch,
            scores.log_probs,
            asked,
            settings.alternatives,
            spelling=settings.spelling,
        )
    )
    told = [
        next(found) if settings.alternatives and span.text not in too_many else [] for span in spans
    ]
    return CheckedTexts(
        scores.log_probs, scores.token_counts, words, figures, spans, told, too_many
    )


def _over_budget(batch: ScoreBatch, spans: list[ErrorSpan]) -> frozenset[int]:
    lengths = np.diff(batch.items.offsets).tolist()
    costs: dict[int, int] = {}
    for span in spans:
        cost = alternatives.rescored_bytes(span, lengths[span.text])
        costs[span.text] = costs.get(span.text, 0) + cost
    left, over = MAX_RESCORED_BYTES, set[int]()
    for text, cost in costs.items():
        if cost > left:
            over.add(text)
        else:
            left -= cost
    return frozenset(over)
