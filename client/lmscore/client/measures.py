"""How well a model predicts a whole corpus, in the figures that people and other tools use."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmscore.client.results import TextScore


@dataclass(slots=True)
class CorpusMeasures:
    """Sums over scored texts, and the figures that follow from them.

    An event is a scored token, the end of each text included if it was scored.
    """

    texts: int = 0
    events: int = 0
    oov_events: int = 0
    characters: int = 0  # Unicode code points, one for the end of each text among them
    log_prob: float = 0.0  # nats
    log_prob_excluding_oov: float = 0.0  # nats

    def add(self, text: str, score: TextScore) -> None:
        """Count a text."""
        self.texts += 1
        self.events += score.token_count
        self.oov_events += score.oov_count
        self.characters += len(text) + 1
        self.log_prob += score.log_prob
        self.log_prob_excluding_oov += score.log_prob_excluding_oov

    @property
    def cross_entropy_nats(self) -> float:
        """Nats an event."""
        return -self.log_prob / max(self.events, 1)

    @property
    def cross_entropy_bits(self) -> float:
        """Bits an event."""
        return self.cross_entropy_nats / math.log(2)

    @property
    def bits_per_character(self) -> float:
        """Bits a character."""
        return -self.log_prob / math.log(2) / max(self.characters, 1)

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
        """As excluding OOVs, but not counting the ends of texts as events: SRILM's ppl1."""
        words = self.events - self.oov_events - self.texts
        return perplexity(self.log_prob_excluding_oov, words)


def perplexity(log_prob: float, events: int) -> float:
    """exp(-log_prob / events), +inf where that is too large, 1 if there are no events."""
    try:
        return math.exp(-log_prob / events) if events else 1.0
    except OverflowError:
        return math.inf
