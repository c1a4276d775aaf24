"""Which words a model knows; the others are ``<unk>`` to it."""

from __future__ import annotations

from itertools import compress

import numpy as np
from numpy.typing import NDArray

from lmscore.models.estimation.lexicon import BOS_ID, EOS_ID, UNK_ID, Lexicon

MARKS = (UNK_ID, BOS_ID, EOS_ID)


def select_words(
    counts: NDArray[np.int64], *, least_count: int = 1, most_words: int | None = None
) -> NDArray[np.bool_]:
    """Which words to know, by id, given how often each occurs.

    Those that occur least_count times or more, and of them the most_words most frequent; among
    equals, those that came first. The marks are always known and not counted.
    """
    known = counts >= least_count
    known[list(MARKS)] = False
    if most_words is not None:
        by_frequency = np.argsort(-counts, kind="stable")
        by_frequency = by_frequency[known[by_frequency]]
        known[by_frequency[most_words:]] = False
    known[list(MARKS)] = True
    return known


class Selection:
    """The words known of a lexicon, with ids of their own in the same order."""

    def __init__(self, lexicon: Lexicon, known: NDArray[np.bool_]) -> None:
        self.words = list(compress(lexicon.words, known.tolist()))
        self._ids = np.where(known, np.cumsum(known) - 1, UNK_ID).astype(np.uint32)
        self._all = bool(known.all())

    def translate(self, tokens: NDArray[np.uint32]) -> None:
        """Turn ids of the lexicon into ids of known words, in place, some at a time."""
        if self._all:
            return
        for begin in range(0, len(tokens), 1 << 22):
            piece = tokens[begin : begin + (1 << 22)]
            piece[:] = self._ids[piece]
