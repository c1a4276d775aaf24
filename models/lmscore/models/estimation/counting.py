"""Counting n-grams in memory, by sorting the places in the text where they begin.

An n-gram is known by a pair: the number of its first n - 1 words among all (n - 1)-grams, and its
last word; so any length fits in 64 bits. Places are sorted by the first word, then those that share
it by the second, and so on: the groups that remain to be sorted soon are of a few places each.
A word more costs one look at the text for each place, and gives all counts of one length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import i64, inline, kernel
from lmscore.models.estimation.lexicon import EOS_ID
from lmscore.models.estimation.ngram_counts import OrderCounts
from lmscore.models.estimation.threads import even_parts, for_each_part

MAX_TOKENS = (1 << 32) - 1  # places are numbers of 32 bits
_INSERTION_SORT = 32  # places at most
_DIGITS = 256


@dataclass(frozen=True, slots=True)
class _Groups:
    """The places of a text where the n-grams of one length begin, those of one n-gram together."""

    places: NDArray[np.uint32]  # (tokens,)
    starts: NDArray[np.uint32]  # (entries,) where the group of each n-gram begins in places
    numbers: NDArray[np.uint32]  # (tokens,) by place, the n-gram that begins there


def count_in_memory(
    tokens: NDArray[np.uint32], vocabulary_size: int, order: int
) -> list[OrderCounts]:
    """The n-grams of a text of whole sentences, by length up to order.

    tokens: (tokens,) ids below vocabulary_size, every sentence from ``<s>`` to ``</s>``.
    """
    if len(tokens) > MAX_TOKENS:
        raise OverflowError(f"{len(tokens)} tokens are too many to count at once")
    level, groups = _count_and_group_words(tokens, vocabulary_size)
    levels = [level]
    for length in range(2, order + 1):
        level, groups = _count_longer(tokens, vocabulary_size, length, level, groups)
        levels.append(level)
    return levels


def count_words(tokens: NDArray[np.uint32], vocabulary_size: int) -> NDArray[np.int64]:
    """How often each word occurs, by id."""
    counts = np.zeros(vocabulary_size, np.int64)
    _add_up(tokens, counts)
    return counts


def _count_and_group_words(
    tokens: NDArray[np.uint32], vocabulary_size: int
) -> tuple[OrderCounts, _Groups]:
    counts = count_words(tokens, vocabulary_size)
    starts = (np.cumsum(counts) - counts).astype(np.uint32)
    places = np.empty(len(tokens), np.uint32)
    _place_words(tokens, starts.copy(), places)
    level = OrderCounts(
        words=np.arange(vocabulary_size, dtype=np.uint32),
        begins=np.array([0, vocabulary_size]),
        suffixes=np.zeros(vocabulary_size, np.uint32),
        counts=counts,
    )
    return level, _Groups(places, starts, tokens)


def _count_longer(
    tokens: NDArray[np.uint32],
    vocabulary_size: int,
    length: int,
    shorter: OrderCounts,
    groups: _Groups,
) -> tuple[OrderCounts, _Groups]:
    """Count the n-grams of a length, given those one word shorter."""
    parts = even_parts(np.cumsum(shorter.counts))
    next_words = np.empty(len(tokens), np.uint32)
    digits = ((vocabulary_size - 1).bit_length() + 7) // 8

    def sort_part(first: int, last: int) -> int:
        largest = int(shorter.counts[first:last].max())
        room = largest if largest > _INSERTION_SORT else 0
        return _sort_groups(
            tokens, length - 1, shorter.words, shorter.counts, groups.starts, first, last,
            groups.places, next_words, digits,
            np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(_DIGITS, np.int64),
        )  # fmt: skip

    part_sizes = for_each_part(sort_part, parts)
    entries = sum(part_sizes)
    level = OrderCounts(
        words=np.empty(entries, np.uint32),
        begins=np.empty(len(shorter) + 1, np.int64),
        suffixes=np.empty(entries, np.uint32),
        counts=np.empty(entries, np.int64),
    )
    longer = _Groups(groups.places, np.empty(entries, np.uint32), np.empty_like(tokens))
    part_starts = dict(zip(parts, np.cumsum([0, *part_sizes]).tolist(), strict=False))
    for_each_part(
        lambda first, last: _write_entries(
            shorter.words, shorter.counts, groups.starts, groups.places, groups.numbers, next_words,
            first, last, part_starts[first, last],
            level.words, level.begins, level.suffixes, level.counts, longer.starts, longer.numbers,
        ),
        parts,
    )  # fmt: skip
    level.begins[-1] = entries
    return level, longer


@kernel
def _add_up(tokens: NDArray[np.uint32], counts: NDArray[np.int64]) -> None:
    for i in range(tokens.size):
        counts[tokens[i]] += 1


@kernel
def _place_words(
    tokens: NDArray[np.uint32], free: NDArray[np.uint32], places: NDArray[np.uint32]
) -> None:
    """Sort all places by their word, given where those of each word begin."""
    for i in range(tokens.size):
        word = tokens[i]
        places[free[word]] = i
        free[word] += np.uint32(1)


@kernel
def _sort_groups(
    tokens: NDArray[np.uint32],
    distance: int,
    last_words: NDArray[np.uint32],
    sizes: NDArray[np.int64],
    starts: NDArray[np.uint32],
    first: int,
    last: int,
    places: NDArray[np.uint32],
    next_words: NDArray[np.uint32],
    digits: int,
    spare_places: NDArray[np.uint32],
    spare_words: NDArray[np.uint32],
    bins: NDArray[np.int64],
) -> int:
    """Sort the places of each group by the word at a distance from them, which is written too.

    The number of different n-grams that this makes. Groups that end in ``</s>`` make none.
    """
    different = 0
    for group in range(first, last):
        if last_words[group] == EOS_ID or sizes[group] == 0:
            continue
        begin = i64(starts[group])
        end = begin + sizes[group]
        for i in range(begin, end):
            next_words[i] = tokens[i64(places[i]) + distance]
        if end - begin > spare_places.size or end - begin <= _INSERTION_SORT:
            _sort_few(next_words, places, begin, end)
        else:
            _sort_many(next_words, places, begin, end, digits, spare_words, spare_places, bins)
        different += 1
        for i in range(begin + 1, end):
            different += next_words[i] != next_words[i - 1]
    return different


@inline
def _sort_few(keys: NDArray[np.uint32], values: NDArray[np.uint32], begin: int, end: int) -> None:
    for i in range(begin + 1, end):
        key, value = keys[i], values[i]
        at = i
        while at > begin and keys[at - 1] > key:
            keys[at], values[at] = keys[at - 1], values[at - 1]
            at -= 1
        keys[at], values[at] = key, value


@kernel
def _sort_many(
    keys: NDArray[np.uint32],
    values: NDArray[np.uint32],
    begin: int,
    end: int,
    digits: int,
    spare_keys: NDArray[np.uint32],
    spare_values: NDArray[np.uint32],
    bins: NDArray[np.int64],
) -> None:
    """Radix sort by digits of eight bits, the lowest first."""
    size = end - begin
    for digit in range(digits):
        shift = 8 * digit
        bins[:] = 0
        for i in range(begin, end):
            bins[(i64(keys[i]) >> shift) & 255] += 1
        total = 0
        for k in range(_DIGITS):
            bins[k], total = total, total + bins[k]
        for i in range(begin, end):
            k = (i64(keys[i]) >> shift) & 255
            spare_keys[bins[k]], spare_values[bins[k]] = keys[i], values[i]
            bins[k] += 1
        for i in range(size):
            keys[begin + i], values[begin + i] = spare_keys[i], spare_values[i]


@kernel
def _write_entries(
    last_words: NDArray[np.uint32],
    sizes: NDArray[np.int64],
    group_starts: NDArray[np.uint32],
    places: NDArray[np.uint32],
    shorter_numbers: NDArray[np.uint32],
    next_words: NDArray[np.uint32],
    first: int,
    last: int,
    entry: int,
    words: NDArray[np.uint32],
    begins: NDArray[np.int64],
    suffixes: NDArray[np.uint32],
    counts: NDArray[np.int64],
    starts: NDArray[np.uint32],
    numbers: NDArray[np.uint32],
) -> None:
    """Write the n-grams that sorted groups are made of, from an entry on."""
    for group in range(first, last):
        begins[group] = entry
        if last_words[group] == EOS_ID:
            continue
        i = i64(group_starts[group])
        end = i + sizes[group]
        while i < end:
            run = i
            word = next_words[i]
            words[entry] = word
            starts[entry] = i
            suffixes[entry] = shorter_numbers[i64(places[i]) + 1]
            while i < end and next_words[i] == word:
                numbers[places[i]] = entry
                i += 1
            counts[entry] = i - run
            entry += 1
