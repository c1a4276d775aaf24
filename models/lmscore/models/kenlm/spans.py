"""Where the words of texts are; words are separated as in the rest of the package."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import ZERO, i64, inline, kernel, load_u64, trailing_zeros, u64
from lmscore.models.language_model import Texts
from lmscore.models.ngram.words import control_flags, is_separator, skip_separators


class Words(NamedTuple):
    """The words of texts: those of text i are at offsets[i]:offsets[i + 1]."""

    offsets: NDArray[np.int64]  # (texts + 1,)
    begins: NDArray[np.int64]  # (words,) bytes of the buffer of all texts
    ends: NDArray[np.int64]  # (words,)


def split_words(texts: Texts) -> Words:
    """Find the words of texts."""
    offsets = np.empty(len(texts) + 1, np.int64)
    # A word takes two bytes with the separator after it, which the last of a text lacks.
    room = (len(texts.data) + len(texts)) // 2
    begins, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    _split(texts.data, texts.offsets, Words(offsets, begins, ends))
    return Words(offsets, begins[: offsets[-1]], ends[: offsets[-1]])


def places_in_texts(
    words: Words, texts: Texts, *, eos: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each word begins and ends in its text; with eos, also the end of each text."""
    starts = np.repeat(texts.offsets[:-1], np.diff(words.offsets))
    begins, ends = words.begins - starts, words.ends - starts
    if not eos:
        return begins, ends
    after_last, lengths = words.offsets[1:], np.diff(texts.offsets)
    return np.insert(begins, after_last, lengths), np.insert(ends, after_last, lengths)


@kernel
def _split(data: NDArray[np.uint8], offsets: NDArray[np.int64], words: Words) -> None:
    found = 0
    for i in range(len(offsets) - 1):
        words.offsets[i] = found
        end = offsets[i + 1]
        position = skip_separators(data, offsets[i], end)
        while position < end:
            words.begins[found] = position
            position = _word_end(data, position, end)
            words.ends[found] = position
            found += 1
            position = skip_separators(data, position, end)
    words.offsets[len(offsets) - 1] = found


@inline
def _word_end(data: NDArray[np.uint8], position: int, end: int) -> int:
    """The next position of a separator, or end; looks at eight bytes at a time."""
    while position < end:
        if position + 8 <= len(data):
            flags = control_flags(load_u64(data, position))
            if flags == ZERO:
                position += 8
                continue
            position += i64(trailing_zeros(flags) >> u64(3))
        if position >= end or is_separator(data[position]):
            break
        position += 1
    return min(position, end)
