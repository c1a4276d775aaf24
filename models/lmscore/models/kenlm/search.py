"""What is asked of a file's n-grams and what it answers, whatever its data structure."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel


class Queries(NamedTuple):
    """Words, each after the context contexts[end - length:end]."""

    words: NDArray[np.uint32]  # (n,)
    contexts: NDArray[np.uint32]
    ends: NDArray[np.int64]  # (n,)
    lengths: NDArray[np.int64]  # (n,) at most order - 1


class Matches(NamedTuple):
    """The longest n-gram that ends with each word after its context, and those it ends with."""

    log10_probs: NDArray[np.float32]  # (n,) of the longest
    orders: NDArray[np.uint8]  # (n,) its length, at least 1
    log10_backoffs: NDArray[np.float32]  # (n, order - 1) by length; written up to the longest

    @classmethod
    def empty(cls, n: int, order: int) -> Self:
        """Room for the answers to n queries."""
        return cls(
            np.empty(n, np.float32), np.empty(n, np.uint8), np.empty((n, order - 1), np.float32)
        )


def charged(queries: Queries, matches: Matches, contexts: Matches) -> NDArray[np.float32]:
    """The log10 probability of each word: its match, and back-offs where that is too short.

    contexts are the matches of queries.contexts, each word after those before it.
    """
    log10_probs = np.empty(len(queries.words), np.float32)
    _charge_backoffs(queries, matches, contexts, log10_probs)
    return log10_probs


@kernel
def _charge_backoffs(
    queries: Queries, matches: Matches, contexts: Matches, log10_probs: NDArray[np.float32]
) -> None:
    """Add in single precision from the shortest back-off to the longest, as KenLM does."""
    for i in range(len(log10_probs)):
        log10_prob = matches.log10_probs[i]
        if queries.lengths[i] > 0:
            last = queries.ends[i] - 1
            known = min(contexts.orders[last], queries.lengths[i])
            for j in range(matches.orders[i] - 1, known):
                log10_prob += contexts.log10_backoffs[last, j]
        log10_probs[i] = log10_prob
