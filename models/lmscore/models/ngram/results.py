"""From ids and log-probabilities of events to BatchScores, whatever model they come from."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.errors import TokenIdError
from lmscore.models.language_model import BatchScores, TokenArrays, TokenSequences
from lmscore.models.vocabulary import Vocabulary

LN10 = math.log(10)


class Events(NamedTuple):
    """What a batch consists of: the events of item i are at offsets[i]:offsets[i + 1]."""

    offsets: NDArray[np.int64]  # (items + 1,)
    ids: NDArray[np.uint32]  # (events,)
    places: tuple[NDArray[np.int64], NDArray[np.int64]] | None  # bytes from and to, if of texts


def events_of_sequences(sequences: TokenSequences, vocabulary: Vocabulary, *, eos: bool) -> Events:
    """The events of token sequences, that of ``</s>`` last if eos; may raise TokenIdError."""
    ids = checked_ids(sequences, vocabulary)
    if not eos:
        return Events(sequences.offsets, ids, None)
    with_eos = np.insert(ids, sequences.offsets[1:], np.uint32(vocabulary.eos_id))
    return Events(sequences.offsets + np.arange(len(sequences) + 1), with_eos, None)


def checked_ids(sequences: TokenSequences, vocabulary: Vocabulary) -> NDArray[np.uint32]:
    """The ids of token sequences; raises TokenIdError for one that is not an event."""
    bad = (sequences.ids < 0) | (sequences.ids >= len(vocabulary))
    if vocabulary.bos_id != vocabulary.eos_id:  # else it is the event that ends a text
        bad |= sequences.ids == vocabulary.bos_id
    if not bad.any():
        return sequences.ids.astype(np.uint32)
    at = int(bad.argmax())
    sequence = int(np.searchsorted(sequences.offsets, at, side="right")) - 1
    token_id = int(sequences.ids[at])
    problem = (
        f"{token_id} is <s>, which is never an event"
        if token_id == vocabulary.bos_id
        else f"{token_id} is not an id of this vocabulary, 0 to {len(vocabulary) - 1}"
    )
    raise TokenIdError(sequence, at - int(sequences.offsets[sequence]), problem)


def empty_scores(items: int) -> BatchScores:
    """Scores yet to be filled in."""
    return BatchScores(
        np.empty(items), np.empty(items), np.empty(items, np.int64), np.empty(items, np.int64)
    )


def batch_scores(
    events: Events,
    log10_probs: NDArray[np.float32],  # (events,)
    lengths: NDArray[np.uint8],  # (events,) of the n-grams that were found
    unk: int,
    *,
    per_token: bool,
) -> BatchScores:
    """The sums over the events of each item, and the events one by one if per_token."""
    scores = empty_scores(len(events.offsets) - 1)
    sum_items(
        events.ids,
        events.offsets,
        log10_probs,
        unk,
        scores.log_probs,
        scores.log_probs_excluding_oov,
        scores.token_counts,
        scores.oov_counts,
    )
    if not per_token:
        return scores
    begins, ends = events.places if events.places is not None else (None, None)
    tokens = TokenArrays(
        offsets=events.offsets,
        token_ids=events.ids.astype(np.int64),
        log_probs=log10_probs.astype(np.float64) * LN10,
        oov=events.ids == unk,
        begin_bytes=begins,
        end_bytes=ends,
        matched_orders=lengths.astype(np.int64),
    )
    return replace(scores, tokens=tokens)


@kernel
def sum_items(
    ids: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    log10_probs: NDArray[np.float32],
    unk: int,
    log_probs: NDArray[np.float64],
    log_probs_excluding_oov: NDArray[np.float64],
    token_counts: NDArray[np.int64],
    oov_counts: NDArray[np.int64],
) -> None:
    """Sums in nats over the words of each item, and how many they are."""
    for item in range(log_probs.size):
        total = 0.0
        known = 0.0
        oov = 0
        for i in range(offsets[item], offsets[item + 1]):
            log_prob = np.float64(log10_probs[i]) * LN10
            total += log_prob
            if ids[i] == unk:
                oov += 1
            else:
                known += log_prob
        log_probs[item] = total
        log_probs_excluding_oov[item] = known
        token_counts[item] = offsets[item + 1] - offsets[item]
        oov_counts[item] = oov
