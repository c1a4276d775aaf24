"""From a batch to one row of word ids with their contexts, and from their scores to results."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.kenlm.search import Queries
from lmscore.models.kenlm.word_hashes import UNK_ID
from lmscore.models.language_model import BatchScores, Texts, TokenArrays
from lmscore.models.ngram.compiled import ZERO, i64, inline, kernel, load_u64, trailing_zeros, u64
from lmscore.models.ngram.words import control_flags, is_separator, skip_separators

NATS = math.log(10)  # in a unit of log10
NO_TOKEN = -1


class Words(NamedTuple):
    """The words of texts, one after the other: text i has offsets[i]:offsets[i + 1]."""

    offsets: NDArray[np.int64]  # (texts + 1,)
    begins: NDArray[np.int64]  # (words,) in the buffer of all texts
    ends: NDArray[np.int64]  # (words,)


class Row(NamedTuple):
    """All items one after the other: a few words of context, events, the end of the text.

    Item i has offsets[i]:offsets[i + 1]; its events begin at events[i].
    """

    words: NDArray[np.int32]  # (n,)
    lengths: NDArray[np.int64]  # (n,) of the context before each word, at most order - 1
    offsets: NDArray[np.int64]  # (items + 1,)
    events: NDArray[np.int64]  # (items,)

    def queries(self) -> Queries:
        """Each word after its context in the row."""
        return Queries(self.words, self.words, np.arange(len(self.words)), self.lengths)


class Edges(NamedTuple):
    """What surrounds every item."""

    order: int  # of the model
    bos_id: int  # or NO_TOKEN
    eos_id: int  # or NO_TOKEN


@kernel
def split_words(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Words:
    """Find the words of the texts data[offsets[i]:offsets[i + 1]]."""
    texts = len(offsets) - 1
    room = (len(data) + texts) // 2 + 1
    words = Words(np.empty_like(offsets), np.empty(room, np.int64), np.empty(room, np.int64))
    found = 0
    for i in range(texts):
        words.offsets[i] = found
        end = offsets[i + 1]
        position = skip_separators(data, offsets[i], end)
        while position < end:
            words.begins[found] = position
            position = _word_end(data, position, end)
            words.ends[found] = position
            found += 1
            position = skip_separators(data, position, end)
    words.offsets[texts] = found
    return Words(words.offsets, words.begins[:found], words.ends[:found])


@inline
def _word_end(data: NDArray[np.uint8], position: int, end: int) -> int:
    """The next position of a separator, or end."""
    while position < end:
        if position + 8 <= len(data):
            flags = control_flags(load_u64(data, position))
            position += 8 if flags == ZERO else i64(trailing_zeros(flags) >> u64(3))
            if flags == ZERO:
                continue
        if position >= end or is_separator(data[position]):
            break
        position += 1
    return min(position, end)


@kernel
def lay_out(
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    context_ids: NDArray[np.int32],
    context_offsets: NDArray[np.int64],
    edges: Edges,
) -> Row:
    """Put items after the words of their contexts that matter; one context stands for all."""
    items = len(offsets) - 1
    room = len(ids) + items * (edges.order + 1)
    row = Row(
        np.empty(room, np.int32),
        np.empty(room, np.int64),
        np.empty(items + 1, np.int64),
        np.empty(items, np.int64),
    )
    at = 0
    for i in range(items):
        row.offsets[i] = begin = at
        c = min(i, len(context_offsets) - 2)
        first = max(context_offsets[c], context_offsets[c + 1] - (edges.order - 1))
        if edges.bos_id != NO_TOKEN and context_offsets[c + 1] - first < edges.order - 1:
            row.words[at] = edges.bos_id
            at += 1
        for j in range(first, context_offsets[c + 1]):
            row.words[at] = context_ids[j]
            at += 1
        row.events[i] = at
        for j in range(offsets[i], offsets[i + 1]):
            row.words[at] = ids[j]
            at += 1
        if edges.eos_id != NO_TOKEN:
            row.words[at] = edges.eos_id
            at += 1
        for j in range(begin, at):
            row.lengths[j] = min(j - begin, edges.order - 1)
    row.offsets[items] = at
    return Row(row.words[:at], row.lengths[:at], row.offsets, row.events)


def summarize(row: Row, log_probs: NDArray[np.float64]) -> BatchScores:
    """The sums of each item's events; log_probs of the whole row, in nats."""
    items = len(row.events)
    sums, sums_excluding_oov = np.empty(items), np.empty(items)
    oov_counts = np.empty(items, np.int64)
    _sum_events(row, log_probs, sums, sums_excluding_oov, oov_counts)
    return BatchScores(sums, sums_excluding_oov, row.offsets[1:] - row.events, oov_counts)


@kernel
def _sum_events(
    row: Row,
    log_probs: NDArray[np.float64],
    sums: NDArray[np.float64],
    sums_excluding_oov: NDArray[np.float64],
    oov_counts: NDArray[np.int64],
) -> None:
    for i in range(len(row.events)):
        total, total_excluding_oov, oov = 0.0, 0.0, 0
        for j in range(row.events[i], row.offsets[i + 1]):
            total += log_probs[j]
            if row.words[j] == UNK_ID:
                oov += 1
            else:
                total_excluding_oov += log_probs[j]
        sums[i], sums_excluding_oov[i], oov_counts[i] = total, total_excluding_oov, oov


def gather_tokens(
    row: Row, log_probs: NDArray[np.float64], orders: NDArray[np.uint8]
) -> TokenArrays:
    """The events of all items, without their places in the texts."""
    counts = row.offsets[1:] - row.events
    offsets = np.concatenate(([0], np.cumsum(counts)))
    at = np.arange(offsets[-1]) + np.repeat(row.events - offsets[:-1], counts)
    ids = row.words[at].astype(np.int64)
    return TokenArrays(
        offsets=offsets,
        token_ids=ids,
        log_probs=log_probs[at],
        oov=ids == UNK_ID,
        begin_bytes=None,
        end_bytes=None,
        matched_orders=orders[at].astype(np.int64),
    )


def event_bytes(
    texts: Texts, words: Words, eos: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each event begins and ends in its text; ``</s>`` at the end of the text."""
    starts = np.repeat(texts.offsets[:-1], np.diff(words.offsets))
    begins, ends = words.begins - starts, words.ends - starts
    if not eos:
        return begins, ends
    after_last, lengths = words.offsets[1:], np.diff(texts.offsets)
    return np.insert(begins, after_last, lengths), np.insert(ends, after_last, lengths)
