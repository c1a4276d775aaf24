"""The entries of a back-off model as arrays: what readers and estimators give to the automaton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class OrderTable:
    """All n-grams of one length, in any order, each at most once."""

    ids: NDArray[np.uint32]  # (entries, order) word ids, oldest first
    log10_probs: NDArray[np.float32]  # (entries,) -inf: impossible
    log10_backoffs: NDArray[np.float32]  # (entries,) 0 where there is none; all 0 at the top order

    def __len__(self) -> int:
        return len(self.log10_probs)


@dataclass(frozen=True, slots=True)
class NgramTable:
    """A whole back-off model: its words by id, and its n-grams by length.

    Every word has a unigram. An entry's prefix and suffix may be missing (pruned models).
    """

    words: list[
        bytes
    ]  # by id; UTF-8 unless the file was not; ``<s>``, ``</s>``, ``<unk>`` included
    orders: list[OrderTable]  # orders[n - 1] holds the n-grams of length n
    has_unknown: bool = True  # False: the probability of ``<unk>`` is a floor, not the model's own

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.orders)
