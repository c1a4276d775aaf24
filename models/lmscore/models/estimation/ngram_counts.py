"""How often each n-gram occurs, for all lengths up to an order, as a trie in flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.models.estimation.lexicon import BOS_ID


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """All n-grams of one length, sorted by their words from the first to the last.

    The n-grams of length 0 are the empty one; those that continue the context c, the c-th n-gram
    one word shorter, are begins[c]:begins[c + 1].
    """

    words: NDArray[np.uint32]  # (entries,) last word
    begins: NDArray[np.int64]  # (contexts + 1,)
    suffixes: NDArray[np.uint32]  # (entries,) which n-gram one word shorter is all but the first
    counts: NDArray[np.int64]  # (entries,) occurrences

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True, slots=True)
class NgramCounts:
    """The n-grams of a corpus within its sentences, ``<s> w1 … wn </s>``.

    Every word has a unigram, whose place is its id. No n-gram reaches beyond a sentence's ends.
    """

    orders: list[OrderCounts]  # orders[n - 1] holds the n-grams of length n

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.orders)

    @property
    def event_types(self) -> int:
        """Number of words that can be predicted: all but ``<s>``."""
        return len(self.orders[0]) - 1

    def after_sentence_start(self, order: int) -> slice:
        """Which n-grams of a length begin with ``<s>``."""
        begin, end = BOS_ID, BOS_ID + 1
        for level in self.orders[1:order]:
            begin, end = int(level.begins[begin]), int(level.begins[end])
        return slice(begin, end)
