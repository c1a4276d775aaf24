"""Words of texts that a model reads in pieces: each with the log-probability of all its pieces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.models.language_model import Texts, TokenArrays
from lmscore.models.tokenization.word_places import WordPlaces, find_words


@dataclass(frozen=True, slots=True)
class WordScores:
    """Words in parallel arrays: those of item i are at offsets[i]:offsets[i + 1].

    The end of a text, where it is an event, stands among them as a word of its own.
    """

    offsets: NDArray[np.int64]  # (items + 1,)
    begin_bytes: NDArray[np.int64]  # (words,) from the start of the text
    end_bytes: NDArray[np.int64]  # (words,) exclusive
    log_probs: NDArray[np.float64]  # (words,) nats, the sum over its pieces
    oov: NDArray[np.bool_]  # (words,) whether a piece is unknown
    token_counts: NDArray[np.int64]  # (words,) pieces; 0 for a word that a tokenizer left out


def word_scores(texts: Texts, tokens: TokenArrays, *, eos: bool = True) -> WordScores:
    """The scores of words out of those of pieces; eos: whether each text's last event is its end.

    A piece belongs to the last word that begins in it, or else to the one that it is part of; one
    that is separators only belongs to the word that follows, or to the last one if none does. A
    text of separators only is a word if it has pieces, so that no piece is ever lost: the words of
    a text add up to its log-probability.
    """
    if tokens.begin_bytes is None or tokens.end_bytes is None:
        raise ValueError("token sequences have no words")
    words = _with_ends(texts, _never_without_words(texts, find_words(texts), tokens, eos), eos)
    owners = _owners(texts, words, tokens, eos)
    count = len(words.begins)
    shift = np.repeat(texts.offsets[:-1], np.diff(words.offsets))
    return WordScores(
        words.offsets,
        words.begins - shift,
        words.ends - shift,
        np.bincount(owners, tokens.log_probs, count).astype(np.float64),
        np.bincount(owners, tokens.oov, count) > 0,
        np.bincount(owners, minlength=count),
    )


def _never_without_words(
    texts: Texts, words: WordPlaces, tokens: TokenArrays, eos: bool
) -> WordPlaces:
    """The same words, and one that is the whole text where there are pieces and no word."""
    pieces = np.diff(tokens.offsets) - eos
    bare = np.flatnonzero((np.diff(words.offsets) == 0) & (pieces > 0))
    return _inserted(words, bare, texts.offsets[bare], texts.offsets[bare + 1])


def _with_ends(texts: Texts, words: WordPlaces, eos: bool) -> WordPlaces:
    """The same words, and an empty one at the end of each text if it is an event."""
    items = np.arange(len(texts) if eos else 0)
    return _inserted(words, items, texts.offsets[items + 1], texts.offsets[items + 1])


def _inserted(
    words: WordPlaces,
    items: NDArray[np.int64],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> WordPlaces:
    """Words with one more after the last of each of some items."""
    more = np.zeros(len(words.offsets), np.int64)
    more[items + 1] = 1
    at = words.offsets[items + 1]
    return WordPlaces(
        words.offsets + np.cumsum(more),
        np.insert(words.begins, at, begins),
        np.insert(words.ends, at, ends),
    )


def _owners(texts: Texts, words: WordPlaces, tokens: TokenArrays, eos: bool) -> NDArray[np.int64]:
    """The word that each event belongs to: (events,)."""
    items = np.repeat(np.arange(len(texts)), np.diff(tokens.offsets))
    first, last = words.offsets[items], words.offsets[items + 1] - 1 - eos
    begins, ends = (texts.offsets[items] + place for place in _places(tokens))
    follows = np.searchsorted(words.ends, begins, side="right")  # the first that ends after it
    begun = np.searchsorted(words.begins, ends, side="left") - 1  # the last that begins before
    owners = np.clip(np.maximum(follows, begun), first, last)
    if eos:
        owners[tokens.offsets[1:] - 1] = words.offsets[1:] - 1
    return owners


def _places(tokens: TokenArrays) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    begins, ends = tokens.begin_bytes, tokens.end_bytes
    if begins is None or ends is None:
        raise ValueError("token sequences have no words")
    return begins, ends
