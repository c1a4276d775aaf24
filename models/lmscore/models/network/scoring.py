"""From batches to tries that fit into memory, and from log-probabilities to scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lmscore.models.interruption import check_wanted
from lmscore.models.language_model import (
    BatchScores,
    ScoreBatch,
    Texts,
    TokenArrays,
    TokenSequences,
)
from lmscore.models.network.backend import Backend
from lmscore.models.network.grouping import groups, ranges, subset
from lmscore.models.network.module import State
from lmscore.models.network.trie import Paths, build_trie
from lmscore.models.ngram.results import checked_ids
from lmscore.models.tokenization.tokenizer import Tokenizer


class Events(NamedTuple):
    """What is scored of a batch: the events of item i are at offsets[i]:offsets[i + 1]."""

    ids: NDArray[np.int64]  # (events,) -1: a token that the vocabulary lacks
    offsets: NDArray[np.int64]  # (items + 1,)
    oov: NDArray[np.bool_]  # (events,)
    places: tuple[NDArray[np.int64], NDArray[np.int64]] | None  # bytes from and to, if of texts


def events_of(batch: ScoreBatch, tokenizer: Tokenizer) -> Events:
    """The events of a batch; may raise TokenIdError."""
    vocabulary = tokenizer.vocabulary
    if isinstance(batch.items, Texts):
        tokens = tokenizer.encode(batch.items)
        events = Events(
            tokens.token_ids, tokens.offsets, tokens.oov, (tokens.begin_bytes, tokens.end_bytes)
        )
        sizes = np.diff(batch.items.offsets)
    else:
        ids = checked_ids(batch.items, vocabulary).astype(np.int64)
        oov = ids == vocabulary.unk_id
        events = Events(ids, batch.items.offsets, oov, None)
        sizes = None
    return _with_ends(events, vocabulary.eos_id, sizes) if batch.eos else events


def _with_ends(events: Events, eos_id: int, sizes: NDArray[np.int64] | None) -> Events:
    """The same with the end of each item, which stands at its last byte."""
    at = events.offsets[1:]
    places = None
    if events.places is not None and sizes is not None:
        begins, ends = events.places
        places = np.insert(begins, at, sizes), np.insert(ends, at, sizes)
    return Events(
        np.insert(events.ids, at, eos_id),
        events.offsets + np.arange(len(events.offsets)),
        np.insert(events.oov, at, False),
        places,
    )


def paths_of(contexts: TokenSequences | None, items: TokenSequences, bos_id: int | None) -> Paths:
    """The paths of items from one state: what stands before all, contexts of each, events."""
    count = len(items)
    start = np.array([bos_id] if bos_id is not None else [], np.int64)
    parts = [TokenSequences(np.tile(start, count), np.arange(count + 1) * len(start))]
    if contexts is not None:
        parts.append(contexts)
    skipped = sum((np.diff(part.offsets) for part in parts), np.zeros(count, np.int64))
    offsets = np.concatenate(([0], np.cumsum(skipped + np.diff(items.offsets))))
    ids = np.empty(offsets[-1], np.int64)
    begins = offsets[:-1]
    for part in (*parts, items):
        lengths = np.diff(part.offsets)
        ids[ranges(begins, lengths)] = part.ids
        begins = begins + lengths
    return Paths(ids, offsets, skipped, np.zeros(count, np.int64))


def batch_scores(
    events: Events, log_probs: NDArray[np.float64], *, per_token: bool, shared_tokens: int
) -> BatchScores:
    """The sums over the events of each item, and the events one by one if per_token."""
    begins, ends = events.places if events.places is not None else (None, None)
    tokens = TokenArrays(events.offsets, events.ids, log_probs, events.oov, begins, ends, None)
    return BatchScores(
        _sums(log_probs, events.offsets),
        _sums(np.where(events.oov, 0.0, log_probs), events.offsets),
        np.diff(events.offsets),
        _sums(events.oov.astype(np.int64), events.offsets),
        tokens if per_token else None,
        shared_tokens,
    )


def _sums(values: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """The sum over each item, which may be empty."""
    sums = np.zeros(len(offsets) - 1, values.dtype)
    filled = np.diff(offsets) > 0
    if filled.any():
        sums[filled] = np.add.reduceat(values, offsets[:-1][filled])
    return sums


class Followed(NamedTuple):
    """What became of some paths."""

    log_probs: NDArray[np.float64]  # (events,)
    ends: State
    shared_tokens: int  # that were not computed, because another path begins alike


class TrieScorer:
    """Runs paths through a network, with about so many distinct prefixes at once."""

    def __init__(self, backend: Backend, max_rows: int) -> None:
        self._backend = backend
        self._max_rows = max_rows

    def score(self, paths: Paths, roots: State | None = None) -> tuple[NDArray[np.float64], int]:
        """Log-probability of every event of paths, NaN for id -1; how many tokens they share.

        They begin in the empty state, or in given ones.
        """
        if roots is None:
            roots = self._backend.initial_state(1)
        event_counts = np.diff(paths.offsets) - paths.skipped
        begins = np.cumsum(event_counts) - event_counts
        result = np.empty(int(event_counts.sum()))
        shared = 0
        for chosen in groups(paths, self._max_rows):
            places = ranges(begins[chosen], event_counts[chosen])
            followed = self._follow(subset(paths, chosen), roots)
            result[places] = followed.log_probs
            shared += followed.shared_tokens
        return result, shared

    def read(self, paths: Paths, roots: State | None = None) -> State:
        """The states after paths, from the empty state or from given ones; none has events."""
        if roots is None:
            roots = self._backend.initial_state(1)
        order = [np.empty(0, np.int64)]
        parts = [tuple(part[:0] for part in roots)]
        for chosen in groups(paths, self._max_rows):
            order.append(chosen)
            parts.append(self._follow(subset(paths, chosen), roots).ends)
        states = tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
        places = self._backend.indices(np.argsort(np.concatenate(order)))
        return tuple(part.index_select(0, places) for part in states)

    def _follow(self, paths: Paths, roots: State) -> Followed:
        """Log-probabilities of the events of a group of paths, and the states at their ends."""
        check_wanted()
        if len(paths.ids) > self._max_rows and len(paths) == 1:
            return self._follow_long(paths, roots)
        trie = build_trie(paths, len(roots[0]))
        tops, ends = self._backend.run(trie, roots, trie.end_rows)
        shared = len(paths.ids) - trie.prefixes
        if not len(trie.edge_rows):
            return Followed(np.empty(0), ends, shared)
        log_probs = self._backend.event_log_probs(tops, trie.edge_rows, trie.edge_tokens)
        return Followed(log_probs[trie.event_edges], ends, shared)

    def _follow_long(self, path: Paths, roots: State) -> Followed:
        """The same of a single path, a piece after the other."""
        state = tuple(part[int(path.roots[0])][None] for part in roots)
        found: list[NDArray[np.float64]] = []
        begin = 0  # the first token that is not read yet
        repeated = 0  # 1 if it was predicted already
        for end in range(self._max_rows, len(path.ids) + self._max_rows, self._max_rows):
            piece = path.ids[begin:end]
            unscored = max(int(path.skipped[0]) - begin, repeated)
            skipped = np.array([min(unscored, len(piece))])
            offsets = np.array([0, len(piece)])
            log_probs, state, _ = self._follow(
                Paths(piece, offsets, skipped, np.zeros(1, np.int64)), state
            )
            found.append(log_probs)
            repeated = min(len(log_probs), 1)  # a piece's last event was predicted, but not read
            begin = min(end, len(path.ids)) - repeated
        return Followed(np.concatenate(found), state, 0)
