"""The loops that score: words of raw bytes to ids, and ids to log-probabilities.

Following one text means waiting for memory at nearly every word. So several texts, each in a lane
of its own, are followed in turn: a lane asks for the cache line that it will need and is left
until its next turn. No lane knows of another, so that a score depends on its own text only.

Log-probabilities are added up as KenLM adds them: in float32 and log10, that of the n-gram found
first, then the back-offs from the shortest context to the longest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import (
    ONE,
    ZERO,
    allocating_kernel,
    i64,
    inline,
    kernel,
    prefetch,
    u64,
)
from lmscore.models.ngram.automaton import (
    BUCKET_FIELDS,
    END_BUCKET,
    LINK,
    LOG10_BACKOFF,
    LOG10_PROB,
    ORDER,
    REMAINDER_BITS,
    ROOT,
    START,
    STATE_BIT,
    Entries,
    field_of,
    length_of,
    probe,
)
from lmscore.models.ngram.results import sum_items
from lmscore.models.ngram.words import (
    WordTable,
    find_word,
    hash_word,
    home_slot,
    skip_separators,
)

_LANES = 16
_BLOCK_BYTES = 1 << 14  # of text, read and scored while its ids are in the nearest cache


class Lanes(NamedTuple):
    """Where each lane stands."""

    item: NDArray[np.int64]  # -1: no more items
    at: NDArray[np.uint64]  # the event looked for
    state: NDArray[np.uint64]  # the context in which it is looked for
    length: NDArray[np.int64]  # of that context
    bucket: NDArray[np.uint64]  # where to look, unless the length is 0
    check: NDArray[np.uint64]
    failures: NDArray[np.int64]  # longer contexts in which it was not found
    backoffs: NDArray[np.float32]  # (lanes, order) of these, the longest first


@allocating_kernel
def walk(
    entries: Entries,
    ids: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    states: NDArray[np.uint32],
    log10_probs: NDArray[np.float32],
    lengths: NDArray[np.uint8],
) -> None:
    """Follow items: the words ids[offsets[i]:offsets[i + 1]] from states[i] on.

    Leaves the log10 probability of each word, in lengths, unless it is empty, the length of the
    n-gram that was found, and in states where the items ended.
    """
    _follow(entries, _new_lanes(entries), ids, offsets, states, log10_probs, lengths)


@allocating_kernel
def _new_lanes(entries: Entries) -> Lanes:
    return Lanes(
        np.empty(_LANES, np.int64),
        np.empty(_LANES, np.uint64),
        np.empty(_LANES, np.uint64),
        np.empty(_LANES, np.int64),
        np.empty(_LANES, np.uint64),
        np.empty(_LANES, np.uint64),
        np.empty(_LANES, np.int64),
        np.empty((_LANES, i64(entries.parameters[ORDER]) + 1), np.float32),
    )


@kernel
def _follow(
    entries: Entries,
    lanes: Lanes,
    ids: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    states: NDArray[np.uint32],
    log10_probs: NDArray[np.float32],
    lengths: NDArray[np.uint8],
) -> None:
    next_item = i64(0)
    busy = 0
    for lane in range(_LANES):
        next_item = _take_item(entries, lanes, lane, next_item, ids, offsets, states)
        busy += lanes.item[lane] >= 0
    while busy > 0:
        for lane in range(_LANES):
            if lanes.item[lane] < 0:
                continue
            slot = _look(entries, lanes, lane, ids)
            if slot == ZERO:
                continue
            _record(entries, lanes, lane, slot, log10_probs, lengths)
            lanes.at[lane] += ONE
            if lanes.at[lane] < u64(offsets[u64(lanes.item[lane] + 1)]):
                _aim(entries, lanes, lane, ids)
                continue
            states[lanes.item[lane]] = lanes.state[lane]
            next_item = _take_item(entries, lanes, lane, next_item, ids, offsets, states)
            busy -= lanes.item[lane] < 0


@inline
def _take_item(
    entries: Entries,
    lanes: Lanes,
    lane: int,
    item: int,
    ids: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    states: NDArray[np.uint32],
) -> int:
    """Give a lane the next item that has words, if there is one; the item after it."""
    while item < states.size and offsets[item] == offsets[item + 1]:
        item += 1
    if item >= states.size:
        lanes.item[lane] = -1
        return item
    lanes.item[lane] = item
    lanes.at[lane] = offsets[item]
    lanes.state[lane] = states[item]
    lanes.length[lane] = length_of(entries, lanes.state[lane], i64(entries.parameters[ORDER]))
    lanes.failures[lane] = 0
    _aim(entries, lanes, lane, ids)
    return item + 1


@inline
def _aim(entries: Entries, lanes: Lanes, lane: int, ids: NDArray[np.uint32]) -> None:
    """Ask for the line in which the lane will look for its word in its context."""
    word = ids[lanes.at[lane]]
    if lanes.length[lane] == 0:
        prefetch(entries.slots, field_of(u64(word) + ONE, LOG10_PROB))
        return
    bucket, check = probe(entries, lanes.length[lane] + 1, lanes.state[lane], word)
    lanes.bucket[lane], lanes.check[lane] = bucket, check
    prefetch(entries.slots, bucket * u64(BUCKET_FIELDS))
    if lanes.length[lane] == 1:  # what comes next if it is not there
        prefetch(entries.slots, field_of(u64(word) + ONE, LOG10_PROB))


@inline
def _look(entries: Entries, lanes: Lanes, lane: int, ids: NDArray[np.uint32]) -> int:
    """The slot of context and word if it is in the line; if not, aim at another, and 0."""
    length = lanes.length[lane]
    if length == 0:
        return u64(ids[lanes.at[lane]]) + ONE
    bucket, check = lanes.bucket[lane], lanes.check[lane]
    base = bucket * u64(BUCKET_FIELDS)
    found = ZERO
    for i in range(4):
        if u64(entries.slots[base + u64(i)]) == check:
            found = bucket * u64(4) + u64(i)
    if found != ZERO:
        return found
    level = entries.levels[u64(length + 1)]
    if u64(entries.slots[base + u64(3)]) > check and bucket + ONE < level[END_BUCKET]:
        lanes.bucket[lane] = bucket + ONE
        lanes.check[lane] = check + (ONE << level[REMAINDER_BITS])
        prefetch(entries.slots, base + u64(BUCKET_FIELDS))
        return ZERO
    state = lanes.state[lane]
    lanes.backoffs[lane, u64(lanes.failures[lane])] = entries.values[field_of(state, LOG10_BACKOFF)]
    lanes.failures[lane] += 1
    _enter(entries, lanes, lane, entries.slots[field_of(state, LINK)], length - 1)
    if lanes.length[lane] == 0:  # every word follows the empty context
        return u64(ids[lanes.at[lane]]) + ONE
    _aim(entries, lanes, lane, ids)
    return ZERO


@inline
def _enter(entries: Entries, lanes: Lanes, lane: int, state: int, at_most: int) -> None:
    """Go to a state of at most some length, whatever a damaged file has for it."""
    if u64(state) >= entries.levels[u64(at_most + 1), START]:
        state = ROOT
    lanes.state[lane] = state
    lanes.length[lane] = length_of(entries, state, at_most)


@inline
def _record(
    entries: Entries,
    lanes: Lanes,
    lane: int,
    slot: int,
    log10_probs: NDArray[np.float32],
    lengths: NDArray[np.uint8],
) -> None:
    """Note the word that was found in a slot, and go on to the state after it."""
    at = lanes.at[lane]
    length = lanes.length[lane]
    if lengths.size > 0:
        lengths[at] = length + 1
    log10_prob = -abs(entries.values[field_of(slot, LOG10_PROB)])
    for i in range(lanes.failures[lane] - 1, -1, -1):
        log10_prob += lanes.backoffs[lane, u64(i)]
    log10_probs[at] = log10_prob
    lanes.failures[lane] = 0
    own = entries.slots[field_of(slot, LOG10_PROB)] & STATE_BIT
    # The longest n-grams are no states, whatever a damaged file has for them.
    if own and length + 1 < i64(entries.parameters[ORDER]):
        lanes.state[lane] = slot
        lanes.length[lane] = length + 1
    else:
        _enter(entries, lanes, lane, entries.slots[field_of(slot, LINK)], length)


@allocating_kernel
def score_texts(
    entries: Entries,
    table: WordTable,
    data: NDArray[np.uint8],
    text_offsets: NDArray[np.int64],
    states: NDArray[np.uint32],
    unk: int,
    eos: int,
    log_probs: NDArray[np.float64],
    log_probs_excluding_oov: NDArray[np.float64],
    token_counts: NDArray[np.int64],
    oov_counts: NDArray[np.int64],
) -> None:
    """Scores in nats of texts from states on, without anything per token.

    eos is the id that ends each text, or -1 for none. states is left where the texts end.
    """
    room_words, room_texts = _largest_block(text_offsets)
    hashes = np.empty(room_words, np.uint64)
    ids = np.empty(room_words, np.uint32)
    log10_probs = np.empty(room_words, np.float32)
    lengths = np.empty(0, np.uint8)
    offsets = np.zeros(room_texts + 1, np.int64)
    lanes = _new_lanes(entries)
    first = 0
    while first < states.size:
        last = _end_of_block(text_offsets, first)
        block = slice(first, last)
        _read_block(table, data, text_offsets[first : last + 1], unk, eos, hashes, ids, offsets)
        _follow(entries, lanes, ids, offsets, states[block], log10_probs, lengths)
        sum_items(
            ids, offsets, log10_probs, unk, log_probs[block], log_probs_excluding_oov[block],
            token_counts[block], oov_counts[block],
        )  # fmt: skip
        first = last


@kernel
def _largest_block(text_offsets: NDArray[np.int64]) -> tuple[int, int]:
    """The most words, ends of text included, and the most texts that any block may have."""
    words = i64(0)
    texts = i64(0)
    first = 0
    while first < text_offsets.size - 1:
        last = _end_of_block(text_offsets, first)
        size = text_offsets[last] - text_offsets[first]
        words = max(words, size // 2 + 2 * (last - first))
        texts = max(texts, last - first)
        first = last
    return words, texts


@kernel
def _read_block(
    table: WordTable,
    data: NDArray[np.uint8],
    text_offsets: NDArray[np.int64],
    unk: int,
    eos: int,
    hashes: NDArray[np.uint64],
    ids: NDArray[np.uint32],
    offsets: NDArray[np.int64],
) -> None:
    """Ids of the words of a few texts, each ended by eos unless it is -1, and where each ends."""
    at = 0
    for text in range(text_offsets.size - 1):
        begin = at
        at = _hash_words(table, data, text_offsets[text], text_offsets[text + 1], hashes, at)
        for i in range(begin, at):
            word = find_word(table, hashes[i])
            ids[i] = word if word >= 0 else unk
        if eos >= 0:
            ids[at] = eos
            at += 1
        offsets[text + 1] = at


@inline
def _hash_words(
    table: WordTable,
    data: NDArray[np.uint8],
    begin: int,
    end: int,
    hashes: NDArray[np.uint64],
    at: int,
) -> int:
    """Put the hashes of the words of a text at hashes[at:]; where they end."""
    position = skip_separators(data, begin, end)
    while position < end:
        hashes[at], position = hash_word(data, position, end, table.parameters[2])
        prefetch(table.slots, home_slot(table, hashes[at]))
        at += 1
        position = skip_separators(data, position, end)
    return at


@inline
def _end_of_block(offsets: NDArray[np.int64], first: int) -> int:
    """The text after the last one that is to be scored together with the first."""
    last = first + 1
    while (
        last + 1 < offsets.size
        and last - first < _BLOCK_BYTES
        and offsets[last + 1] - offsets[first] <= _BLOCK_BYTES
    ):
        last += 1
    return last


@kernel
def count_words(
    data: NDArray[np.uint8], text_offsets: NDArray[np.int64], counts: NDArray[np.int64]
) -> None:
    """Number of words in each text."""
    for text in range(counts.size):
        end = text_offsets[text + 1]
        position = skip_separators(data, text_offsets[text], end)
        counts[text] = 0
        while position < end:
            position = hash_word(data, position, end, ZERO)[1]
            counts[text] += 1
            position = skip_separators(data, position, end)


@kernel
def tokenize_texts(
    table: WordTable,
    data: NDArray[np.uint8],
    text_offsets: NDArray[np.int64],
    unk: int,
    eos: int,
    offsets: NDArray[np.int64],
    ids: NDArray[np.uint32],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> None:
    """Ids and places of all words, and of eos after each text unless it is -1.

    offsets, given, tells where the words of each text belong.
    """
    for text in range(offsets.size - 1):
        start = text_offsets[text]
        end = text_offsets[text + 1]
        at = offsets[text]
        position = skip_separators(data, start, end)
        while position < end:
            begins[at] = position - start
            value, position = hash_word(data, position, end, table.parameters[2])
            ends[at] = position - start
            word = find_word(table, value)
            ids[at] = word if word >= 0 else unk
            at += 1
            position = skip_separators(data, position, end)
        if eos >= 0:
            ids[at] = eos
            begins[at] = ends[at] = end - start
