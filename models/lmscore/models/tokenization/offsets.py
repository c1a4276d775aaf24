"""Places of tokens: from what the libraries tell to bytes that follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from lmscore.models.language_model import Texts, TokenizedTexts
from lmscore.models.tokenization.characters import character_starts

Spans = Sequence[tuple[int, int]]


def as_strings(texts: Texts) -> list[str]:
    """The texts, decoded."""
    return [text.decode() for text in as_bytes(texts)]


def as_bytes(texts: Texts) -> list[bytes]:
    """The texts, one by one."""
    data = texts.data.tobytes()
    ends = texts.offsets.tolist()
    return [data[begin:end] for begin, end in pairwise(ends)]


def offsets_of(pieces: Sequence[Sequence[object]]) -> NDArray[np.int64]:
    """Where the pieces of each text begin among all, and the last end: (texts + 1,)."""
    counts = np.fromiter(map(len, pieces), np.int64, len(pieces))
    return np.concatenate(([0], np.cumsum(counts)))


def flat_ids(ids: Sequence[Sequence[int]], count: int) -> NDArray[np.int64]:
    """The ids of all texts in one array."""
    return np.fromiter(chain.from_iterable(ids), np.int64, count)


def flat_spans(spans: Sequence[Spans], count: int) -> NDArray[np.int64]:
    """The begins and ends of the pieces of all texts: (pieces, 2)."""
    numbers = chain.from_iterable(chain.from_iterable(spans))
    return np.fromiter(numbers, np.int64, 2 * count).reshape(-1, 2)


def characters_to_bytes(
    texts: Texts, offsets: NDArray[np.int64], spans: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Spans in characters of their texts as spans in bytes of them: (pieces, 2)."""
    starts = np.append(character_starts(texts), texts.data.size)
    counts = np.diff(offsets)[:, None]
    first = np.searchsorted(starts, texts.offsets[:-1])[:, None]
    places: NDArray[np.int64] = starts[spans + _repeat(first, counts)]
    return places - _repeat(texts.offsets[:-1, None], counts)


def _repeat(values: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.repeat(values, counts[:, 0], axis=0)


def in_order(
    texts: Texts, offsets: NDArray[np.int64], spans: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Spans that do not overlap: of those that share something, the last one keeps it.

    Spans: (pieces, 2), in bytes of their texts.
    """
    shift = np.repeat(texts.offsets[:-1], np.diff(offsets))  # no text reaches into the next
    begins, ends = spans[:, 0] + shift, spans[:, 1] + shift
    begins = np.minimum.accumulate(begins[::-1])[::-1]
    following = np.append(begins[1:], texts.data.size)
    ends = np.maximum(np.minimum(ends, following), begins)
    return np.stack((begins - shift, ends - shift), axis=1)


def tokenized(
    offsets: NDArray[np.int64],
    ids: NDArray[np.int64],
    spans: NDArray[np.int64],
    oov: NDArray[np.bool_],
) -> TokenizedTexts:
    """Pieces with their spans, of which each column becomes an array of its own."""
    begins, ends = np.ascontiguousarray(spans.T)
    return TokenizedTexts(offsets, ids, begins, ends, oov)
