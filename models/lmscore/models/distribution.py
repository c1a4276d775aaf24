"""What a next-token distribution tells: ranks, entropy, the likeliest tokens. For every model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts, TokenArrays
from lmscore.models.vocabulary import Vocabulary

MAX_DISTRIBUTION_VALUES = 1 << 22
"""Probabilities held at once: 32 MiB, whatever the vocabulary and the number of events."""

_NO_IDS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Distributions:
    """Figures of next-token distributions, one element each."""

    entropies: NDArray[np.float64]  # (n,) nats
    top_ids: NDArray[np.int64]  # (n, k) likeliest first, of equal ones the lower id; -1: no more
    top_log_probs: NDArray[np.float64]  # (n, k) nats; -inf: no more tokens are possible

    @classmethod
    def empty(cls, n: int, k: int) -> Distributions:
        """Arrays to be filled in."""
        return cls(np.empty(n), np.empty((n, k), np.int64), np.empty((n, k)))

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """Entropies, top_ids, top_log_probs."""
        return self.entropies, self.top_ids, self.top_log_probs


@dataclass(frozen=True, slots=True)
class EventDetails:
    """What the model expected where each event of a batch stands, in the order of TokenArrays."""

    ranks: NDArray[np.int64]  # (events,) 1 + the number of tokens that were likelier
    distributions: Distributions  # (events,)


def predict(
    model: LanguageModel[Any], prompts: Texts, k: int, *, bos: bool = True
) -> Distributions:
    """The distributions after each prompt, with its k likeliest tokens.

    Raises CapabilityError if the model can only score.
    """
    return predict_after(model, model.read(prompts, bos=bos), len(prompts), k)


def predict_after(model: LanguageModel[Any], states: Any, n: int, k: int) -> Distributions:
    """The same after each of n states."""
    result = Distributions.empty(n, min(k, _event_count(model.vocabulary)))
    for rows in _chunks(n, len(model.vocabulary)):
        log_probs = model.next_log_probs(model.gather(states, rows))
        _describe(log_probs, _NO_IDS, rows, *result.arrays(), _NO_IDS)
    return result


def warm_up(model: LanguageModel[Any]) -> None:
    """Compile all that distributions of a model need; takes seconds once on a machine."""
    texts = Texts.from_strings([""])
    predict(model, texts, 1)
    batch = ScoreBatch(texts, per_token=True)
    events = model.score(batch).tokens
    if events is not None:  # as they were asked for
        event_details(model, batch, events, 1)


def event_details(
    model: LanguageModel[Any], batch: ScoreBatch, events: TokenArrays, k: int
) -> EventDetails:
    """Rank of each event of a batch, entropy where it stands, and the k likeliest tokens there.

    events is what scoring the batch per token gave. Raises CapabilityError if the model can only
    score.
    """
    k = min(k, _event_count(model.vocabulary))
    result = Distributions.empty(len(events.token_ids), k)
    ranks = np.empty(len(events.token_ids), np.int64)
    lengths = np.diff(events.offsets)
    items = np.argsort(-lengths, kind="stable")  # so that those with a t-th event come first
    states = model.gather(model.states_before(batch), items)
    for t in range(int(lengths.max(initial=0))):
        active = int(np.count_nonzero(lengths > t))
        places = events.offsets[items[:active]] + t
        states = model.gather(states, np.arange(active))
        for rows in _chunks(active, len(model.vocabulary)):
            log_probs = model.next_log_probs(model.gather(states, rows))
            at = places[rows]
            _describe(log_probs, events.token_ids[at], at, *result.arrays(), ranks)
        states = model.advance(states, events.token_ids[places])
    return EventDetails(ranks, result)


def _event_count(vocabulary: Vocabulary) -> int:
    """Number of tokens that can follow others: ``<s>`` never does, unless it is also ``</s>``."""
    return len(vocabulary) - (vocabulary.bos_id != vocabulary.eos_id)


def _chunks(count: int, vocabulary_size: int) -> Iterator[NDArray[np.int64]]:
    """Indices 0 … count - 1 in pieces whose distributions fit into the memory meant for them."""
    size = max(1, MAX_DISTRIBUTION_VALUES // vocabulary_size)
    for begin in range(0, count, size):
        yield np.arange(begin, min(begin + size, count))


@kernel
def _describe(
    log_probs: NDArray[np.floating[Any]],  # (rows, vocabulary)
    token_ids: NDArray[np.int64],  # (rows,) whose ranks are wanted, or none; -1: an unknown one
    places: NDArray[np.int64],  # (rows,) where the results of each row belong
    entropies: NDArray[np.float64],
    top_ids: NDArray[np.int64],
    top_log_probs: NDArray[np.float64],
    ranks: NDArray[np.int64],
) -> None:
    """Fill in all figures of each row in one pass over it."""
    k = top_ids.shape[1]
    for row in range(log_probs.shape[0]):
        place = places[row]
        threshold = np.inf
        if token_ids.size:
            token_id = token_ids[row]
            threshold = log_probs[row, token_id] if token_id >= 0 else -np.inf
        likelier = 0
        entropy = 0.0
        found = 0
        for token in range(log_probs.shape[1]):
            log_prob = log_probs[row, token]
            if log_prob == -np.inf:
                continue
            entropy -= np.exp(log_prob) * log_prob
            likelier += log_prob > threshold
            if found < k or log_prob > top_log_probs[place, k - 1]:
                # Insert behind all that are as likely: their ids are lower.
                slot = min(found, k - 1)
                while slot > 0 and top_log_probs[place, slot - 1] < log_prob:
                    top_ids[place, slot] = top_ids[place, slot - 1]
                    top_log_probs[place, slot] = top_log_probs[place, slot - 1]
                    slot -= 1
                top_ids[place, slot] = token
                top_log_probs[place, slot] = log_prob
                found = min(found + 1, k)
        entropies[place] = entropy
        for slot in range(found, k):
            top_ids[place, slot] = -1
            top_log_probs[place, slot] = -np.inf
        if token_ids.size:
            ranks[place] = likelier + 1
