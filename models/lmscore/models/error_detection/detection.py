"""Spans of words that a model does not expect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmscore.models.error_detection.misfit import word_misfits
from lmscore.models.language_model import BatchScores, LanguageModel, ScoreBatch, Texts
from lmscore.models.tokenization.word_spans import WordScores, word_scores

Criterion: TypeAlias = Literal["surprisal", "misfit"]
"""What of a word is held against the threshold."""


@dataclass(frozen=True, slots=True)
class SuspectWord:
    """A word that a model does not expect, or does not know."""

    begin: int  # in bytes of the text
    end: int  # exclusive
    surprisal: float  # nats
    unexpectedness: float  # nats; what the threshold is about
    oov: bool


@dataclass(frozen=True, slots=True)
class ErrorSpan:
    """Neighbouring words of a text, each of them unexpected or unknown."""

    text: int  # its index in the batch
    words: tuple[SuspectWord, ...]  # at least one

    @property
    def begin(self) -> int:
        """Where it begins, in bytes of the text."""
        return self.words[0].begin

    @property
    def end(self) -> int:
        """Where it ends (exclusive), in bytes of the text."""
        return self.words[-1].end

    @property
    def surprisal(self) -> float:
        """That of its most surprising word, in nats."""
        return max(word.surprisal for word in self.words)

    @property
    def unexpectedness(self) -> float:
        """That of its most unexpected word, in nats."""
        return max(word.unexpectedness for word in self.words)

    @property
    def oov(self) -> bool:
        """Whether one of its words is out of vocabulary."""
        return any(word.oov for word in self.words)


def scored_words(batch: ScoreBatch, scores: BatchScores) -> WordScores:
    """The words of a batch of texts that was scored per token."""
    if scores.tokens is None or not isinstance(batch.items, Texts):
        raise TypeError("words are those of texts, scored per token")
    return word_scores(batch.items, scores.tokens, eos=batch.eos)


def unexpectedness(
    model: LanguageModel[Any], batch: ScoreBatch, words: WordScores, criterion: Criterion
) -> NDArray[np.float64]:
    """What of each word is held against the threshold, in nats: (words,)."""
    if criterion == "misfit":
        return word_misfits(model, batch, words)
    surprisals: NDArray[np.float64] = 0.0 - words.log_probs
    return surprisals


def find_errors(
    words: WordScores, unexpectedness: NDArray[np.float64], threshold: float, *, eos: bool
) -> list[ErrorSpan]:
    """Spans of words beyond the threshold, in nats, or out of vocabulary, in the texts' order.

    The end of a text, the last of its words if eos, is no word that could be wrong.
    """
    suspect = words.oov | (unexpectedness > threshold)
    if eos:
        suspect[words.offsets[1:] - 1] = False
    return list(_spans(words, unexpectedness, suspect))


def _spans(
    words: WordScores, unexpectedness: NDArray[np.float64], suspect: NDArray[np.bool_]
) -> Iterator[ErrorSpan]:
    text_of = np.repeat(np.arange(len(words.offsets) - 1), np.diff(words.offsets))
    columns = (words.begin_bytes, words.end_bytes, 0.0 - words.log_probs, unexpectedness, words.oov)
    places = np.flatnonzero(suspect)
    apart = (np.diff(places) > 1) | (np.diff(text_of[places]) > 0)
    for run in np.split(places, np.flatnonzero(apart) + 1):
        if run.size:
            rows = zip(*(column[run].tolist() for column in columns), strict=True)
            yield ErrorSpan(int(text_of[run[0]]), tuple(SuspectWord(*row) for row in rows))
