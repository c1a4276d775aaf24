"""How well a model predicts a text, in the figures that people and other tools use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmscore.models.language_model import BatchScores, LanguageModel, ScoreBatch, Texts
from lmscore.models.windows import Windows, score_in_windows

_LINE_FEED, _RETURN = 10, 13


@dataclass(frozen=True, slots=True)
class Measures:
    """Sums over the lines of a text, and the figures that follow from them.

    An event is a scored token; every line has one for its end, ``</s>``.
    """

    lines: int
    events: int
    oov_events: int
    characters: int  # Unicode code points, one for the end of each line among them
    log_prob: float  # nats
    log_prob_excluding_oov: float  # nats

    def __add__(self, other: Measures) -> Measures:
        return Measures(
            self.lines + other.lines,
            self.events + other.events,
            self.oov_events + other.oov_events,
            self.characters + other.characters,
            self.log_prob + other.log_prob,
            self.log_prob_excluding_oov + other.log_prob_excluding_oov,
        )

    @property
    def cross_entropy_nats(self) -> float:
        """Nats an event."""
        return -self.log_prob / max(self.events, 1)

    @property
    def cross_entropy_bits(self) -> float:
        """Bits an event."""
        return to_bits(self.cross_entropy_nats)

    @property
    def bits_per_character(self) -> float:
        """Bits a character."""
        return to_bits(-self.log_prob / max(self.characters, 1))

    @property
    def perplexity(self) -> float:
        """Of all events: KenLM's "including OOVs"."""
        return perplexity(self.log_prob, self.events)

    @property
    def perplexity_excluding_oov(self) -> float:
        """Of events that are in the vocabulary: KenLM's "excluding OOVs", SRILM's ppl."""
        return perplexity(self.log_prob_excluding_oov, self.events - self.oov_events)

    @property
    def perplexity_without_ends(self) -> float:
        """As excluding OOVs, but not counting the ends of lines as events: SRILM's ppl1."""
        words = self.events - self.oov_events - self.lines
        return perplexity(self.log_prob_excluding_oov, words)


NOTHING = Measures(0, 0, 0, 0, 0.0, 0.0)


def perplexity(log_prob: float, events: int) -> float:
    """exp(-log_prob / events) with log_prob in nats; +inf beyond what a float holds."""
    try:
        return math.exp(-log_prob / events) if events else 1.0
    except OverflowError:
        return math.inf


def to_bits(nats: float) -> float:
    """The same amount of information in bits."""
    return nats / math.log(2)


def entropy(probs: ArrayLike) -> float:
    """The sum of -p ln p over a distribution, in nats."""
    p = np.asarray(probs, np.float64)
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def kl_divergence(p: ArrayLike, q: ArrayLike) -> float:
    """The sum of p ln(p / q), in nats; +inf where q excludes what p allows."""
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    possible = p > 0
    with np.errstate(divide="ignore"):
        return float((p[possible] * np.log(p[possible] / q[possible])).sum())


def score_lines(
    model: LanguageModel[Any], text: bytes, windows: Windows | None = None
) -> BatchScores:
    """The scores of the lines of a text, each cut into windows if they are given."""
    texts = lines_of(text)
    if windows is not None:
        return score_in_windows(model, texts, windows)
    return model.score(ScoreBatch(texts))


def lines_of(text: bytes) -> Texts:
    """The lines of a text without their ends, which characters would count as tokens."""
    data: NDArray[np.uint8] = np.frombuffer(text, np.uint8)
    line_feeds = data == _LINE_FEED
    ends = np.flatnonzero(line_feeds)
    if len(data) and not line_feeds[-1]:
        ends = np.append(ends, len(data))
    in_end = line_feeds | ((data == _RETURN) & np.append(line_feeds[1:], False))
    kept = np.concatenate(([0], np.cumsum(~in_end)))
    return Texts(data[~in_end], np.concatenate(([0], kept[ends])))


def measures_of(scores: BatchScores, characters: int) -> Measures:
    """Sums over scored lines of so many characters, ends included."""
    return Measures(
        lines=len(scores.log_probs),
        events=int(scores.token_counts.sum()),
        oov_events=int(scores.oov_counts.sum()),
        characters=characters,
        log_prob=float(scores.log_probs.sum()),
        log_prob_excluding_oov=float(scores.log_probs_excluding_oov.sum()),
    )


def score_texts(
    model: LanguageModel[Any],
    texts: Iterable[tuple[bytes, bytes]],
    windows: Windows | None = None,
) -> Iterator[tuple[BatchScores, Measures]]:
    """The scores of the lines of each text, and their sums.

    Each text is given as it is, whose characters are counted, and with blanks between its tokens.
    """
    for text, segmented in texts:
        scores = score_lines(model, segmented, windows)
        yield scores, measures_of(scores, characters_of(text, len(scores.log_probs)))


def measure(model: LanguageModel[Any], texts: Iterable[tuple[bytes, bytes]]) -> Measures:
    """How well a model predicts texts of whole lines, given as for score_texts."""
    return sum((measures for _, measures in score_texts(model, texts)), NOTHING)


def characters_of(text: bytes, lines: int) -> int:
    """Characters of a UTF-8 text, one for the end of each line, carriage returns not counted."""
    data: NDArray[np.uint8] = np.frombuffer(text, np.uint8)
    continuing = (data & 0xC0) == 0x80  # the bytes of a character after its first
    ends = (data == _LINE_FEED) | (data == _RETURN)
    return len(data) - int(np.count_nonzero(continuing | ends)) + lines
