"""A batch as one row of word ids, in which every word stands after its context."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.kenlm.search import Queries

NONE = -1  # in place of an id


class Sequences(NamedTuple):
    """Word ids: sequence i is ids[offsets[i]:offsets[i + 1]]."""

    ids: NDArray[np.uint32]
    offsets: NDArray[np.int64]


class Edges(NamedTuple):
    """What surrounds every item."""

    bos: int  # or NONE
    eos: int  # or NONE
    most_context: int  # words, order - 1


class Row(NamedTuple):
    """All items one after the other, each after the last words of its context."""

    words: NDArray[np.uint32]  # (n,)
    lengths: NDArray[np.int64]  # (n,) of the context before each word
    events: NDArray[np.int64]  # (events,) which of the words are events
    offsets: NDArray[np.int64]  # (items + 1,) where each item's events begin among the events

    @classmethod
    def of(cls, items: Sequences, contexts: Sequences, edges: Edges) -> Self:
        """Lay out items after contexts, of which there is one for all, or one each."""
        count = len(items.offsets) - 1
        events = len(items.ids) + (count if edges.eos != NONE else 0)
        room = events + count * edges.most_context
        row = cls(
            np.empty(room, np.uint32),
            np.empty(room, np.int64),
            np.empty(events, np.int64),
            np.empty(count + 1, np.int64),
        )
        n = _fill(row, items, contexts, edges)
        return cls(row.words[:n], row.lengths[:n], row.events, row.offsets)

    def queries(self) -> Queries:
        """Every word after its context."""
        return Queries(self.words, self.words, np.arange(len(self.words)), self.lengths)


@kernel
def _fill(row: Row, items: Sequences, contexts: Sequences, edges: Edges) -> int:
    """Fill in a row; the number of its words."""
    at = 0
    event = 0
    for i in range(len(items.offsets) - 1):
        begin = at
        context = min(i, len(contexts.offsets) - 2)
        end = contexts.offsets[context + 1]
        first = max(contexts.offsets[context], end - edges.most_context)
        if edges.bos != NONE and end - first < edges.most_context:
            row.words[at] = edges.bos
            at += 1
        for j in range(first, end):
            row.words[at] = contexts.ids[j]
            at += 1
        row.offsets[i] = event
        for j in range(items.offsets[i], items.offsets[i + 1]):
            row.words[at] = items.ids[j]
            row.events[event] = at
            at += 1
            event += 1
        if edges.eos != NONE:
            row.words[at] = edges.eos
            row.events[event] = at
            at += 1
            event += 1
        for j in range(begin, at):
            row.lengths[j] = min(j - begin, edges.most_context)
    row.offsets[len(items.offsets) - 1] = event
    return at
