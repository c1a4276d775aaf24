"""Where the words of texts are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.models.language_model import WORD_SEPARATORS, Texts

_IN_WORD = ~np.isin(np.arange(256), WORD_SEPARATORS)  # by byte


@dataclass(frozen=True, slots=True)
class WordPlaces:
    """The words of a batch: those of text i are at offsets[i]:offsets[i + 1]."""

    offsets: NDArray[np.int64]  # (texts + 1,)
    begins: NDArray[np.int64]  # (words,) in the buffer of all texts
    ends: NDArray[np.int64]  # (words,) exclusive


def find_words(texts: Texts) -> WordPlaces:
    """What stands between NUL, tab, line feed, carriage return, space and the ends of texts."""
    inside = _IN_WORD[texts.data]
    edges = np.zeros(inside.size + 1, np.bool_)  # whether something other begins there
    edges[1:-1] = inside[1:] != inside[:-1]
    edges[texts.offsets] = True
    places = np.flatnonzero(edges)
    begins, ends = places[:-1], places[1:]
    words = inside[begins]
    begins, ends = begins[words], ends[words]
    return WordPlaces(np.searchsorted(begins, texts.offsets), begins, ends)
