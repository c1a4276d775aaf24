"""The next-word distribution of a state: unigrams, overlaid with what follows each suffix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import i64, inline, kernel, prefetch, u64
from lmscore.models.ngram.automaton import (
    BUCKET_FIELDS,
    LINK,
    LOG10_BACKOFF,
    LOG10_PROB,
    ORDER,
    ROOT,
    START,
    VOCABULARY_SIZE,
    Children,
    Entries,
    field_of,
    find,
    length_of,
    probe,
)
from lmscore.models.ngram.children import list_of, take_number
from lmscore.models.ngram.results import LN10

_WORDS_AT_ONCE = 32  # looked up together, so that they wait for memory together


def next_log_probs(
    entries: Entries,
    children: Children,
    unigrams: NDArray[np.float32],
    states: NDArray[np.uint32],
    bos: int,
) -> NDArray[np.float64]:
    """Nats of every word after each state, (states, vocabulary); -inf for bos, never an event.

    unigrams is what unigram_row gives. Sums are those of scoring, in the same order, so that they
    are the same to the last bit.
    """
    order = entries.order
    log_probs = np.empty((len(states), len(unigrams)))
    _fill(
        entries,
        children,
        states,
        np.empty(order + 1, np.int64),
        np.empty(order + 1, np.float32),
        np.empty(_WORDS_AT_ONCE, np.uint32),
        unigrams,
        np.empty_like(unigrams),
        log_probs,
    )
    log_probs[:, bos] = -np.inf
    return log_probs


def unigram_row(entries: Entries) -> NDArray[np.float32]:
    """Log10 probability of every word without a context, one after the other: (vocabulary,)."""
    row = np.empty(int(entries.parameters[VOCABULARY_SIZE]), np.float32)
    _fill_unigrams(entries, row)
    return row


@kernel
def _fill_unigrams(entries: Entries, row: NDArray[np.float32]) -> None:
    for word in range(row.size):
        row[word] = -abs(entries.values[field_of(word + 1, LOG10_PROB)])


@kernel
def _fill(
    entries: Entries,
    children: Children,
    states: NDArray[np.uint32],
    chain: NDArray[np.int64],
    backoffs: NDArray[np.float32],
    words: NDArray[np.uint32],
    unigrams: NDArray[np.float32],
    row: NDArray[np.float32],
    log_probs: NDArray[np.float64],
) -> None:
    for i in range(states.size):
        length = suffix_chain(entries, states[i], chain, backoffs)
        backoff = backoffs[length - 1] if length else np.float32(0)
        for word in range(u64(row.size)):
            row[word] = unigrams[word] + backoff
        for k in range(length - 1, -1, -1):
            if k < length - 1:
                for word in range(u64(row.size)):
                    row[word] += backoffs[k]
            _overlay(entries, children, chain[k], words, row)
        for word in range(u64(row.size)):
            log_probs[i, word] = np.float64(row[word]) * LN10


@inline
def suffix_chain(
    entries: Entries, state: int, chain: NDArray[np.int64], backoffs: NDArray[np.float32]
) -> int:
    """Note the state, and those that backing off leads to before the root; how many they are."""
    count = 0
    length = length_of(entries, state, i64(entries.parameters[ORDER]))
    while length > 0:
        chain[count] = state
        backoffs[count] = entries.values[field_of(state, LOG10_BACKOFF)]
        count += 1
        link = entries.slots[field_of(state, LINK)]
        # A link leads to a shorter context; in a damaged file too, hence to the root.
        state = i64(link) if u64(link) < entries.levels[length, START] else ROOT
        length = length_of(entries, state, length - 1)
    return count


@kernel
def _overlay(
    entries: Entries,
    children: Children,
    state: int,
    words: NDArray[np.uint32],
    row: NDArray[np.float32],
) -> None:
    """Replace the log10 probabilities of the words that follow a state itself."""
    length = length_of(entries, state, i64(entries.parameters[ORDER])) + 1
    at, end = list_of(children, state)
    word = i64(0)
    while at < end:
        count = 0
        while at < end and count < _WORDS_AT_ONCE:
            step, at = take_number(children.data, at)
            word += step
            if word >= row.size:
                break  # a damaged file
            words[count] = word
            bucket = probe(entries, length, state, word)[0]
            prefetch(entries.slots, bucket * u64(BUCKET_FIELDS))
            count += 1
        for i in range(count):
            bucket, check = probe(entries, length, state, words[i])
            slot = find(entries, length, bucket, check)
            row[words[i]] = -abs(entries.values[field_of(slot, LOG10_PROB)])
        if word >= row.size:
            break
