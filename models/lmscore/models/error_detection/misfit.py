"""How badly words fit into their texts: what is before them, and what comes after them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.error_detection.candidates import SEPARATORS, joined, pieces
from lmscore.models.interruption import check_wanted
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts
from lmscore.models.tokenization.word_spans import WordScores, word_scores

FOLLOWING_WORDS = 8
"""So many words after a word are asked how they like it; the end of a text is one."""

_UNKNOWN = b"\xef\xbf\xbc"  # U+FFFC, which stands for something that is not text: in no vocabulary
_ENOUGH_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class _Place:
    """A word of a text, the text up to some words after it, and what is there without it."""

    word: int  # in WordScores
    text: int
    begin: int  # in bytes of the text, where what was changed begins
    changed: bytes
    to_end: bool


def word_misfits(
    model: LanguageModel[Any], batch: ScoreBatch, words: WordScores
) -> NDArray[np.float64]:
    """By how much words are less likely where they are than anywhere, in nats: (words,).

    A word's surprisal less that of the word alone, without any context, and what the words after it
    lose by it: their log-probability after an unknown word in its place (or, where tokens are no
    words, without it) less that after it. So a rare word that fits is no misfit, and a word that
    spoils what follows is one. 0 for ends of texts, +inf for what is impossible here.

    Negative for a word that its context makes likelier. words are those of the batch's texts.
    """
    texts = _texts(batch)
    data = pieces(texts)
    misfits = _lift(model, data, words, batch.eos)
    places = list(_places(model, data, words, batch.eos))
    for to_end in (False, True):
        for part in _parts([place for place in places if place.to_end == to_end]):
            check_wanted()
            _add_losses(model, batch, words, part, misfits)
    misfits[np.isnan(misfits)] = np.inf  # impossible both here and for what follows
    return misfits


def rescored_bytes(texts: Texts) -> NDArray[np.int64]:
    """An upper bound of what is scored of each text to find its misfits, in bytes: (texts,)."""
    bounds: NDArray[np.int64] = texts.word_counts() * (np.diff(texts.offsets) + len(_UNKNOWN))
    return bounds


def words_alone(model: LanguageModel[Any], words: list[bytes]) -> NDArray[np.float64]:
    """Log-probabilities of words without any context, in nats: (words,)."""
    distinct = {word: i for i, word in enumerate(dict.fromkeys(words))}
    alone = model.score(ScoreBatch(joined(list(distinct)), bos=False, eos=False)).log_probs
    return alone[[distinct[word] for word in words]]


def _lift(
    model: LanguageModel[Any], data: list[bytes], words: WordScores, eos: bool
) -> NDArray[np.float64]:
    """Surprisal of each word less that of the word alone."""
    lift = 0.0 - words.log_probs
    written = [data[text][begin:end] for text, _, begin, end in _rows(words)]
    alone = words_alone(model, written)
    lift += np.where(np.isfinite(alone), alone, 0.0)  # what is impossible anywhere is so here
    if eos:
        lift[words.offsets[1:] - 1] = 0.0
    return lift


def _places(
    model: LanguageModel[Any], data: list[bytes], words: WordScores, eos: bool
) -> Iterator[_Place]:
    of_words = model.description.tokenizer == "words"
    for text, word, begin, end in _rows(words):
        last = int(words.offsets[text + 1]) - 1
        if eos and word == last:
            continue
        until = min(word + FOLLOWING_WORDS, last)
        stop = int(words.end_bytes[until])
        before, after = data[text][:begin], data[text][end:stop]
        blank = _UNKNOWN if of_words else b""
        if not of_words:
            after = after.lstrip(SEPARATORS)
        yield _Place(word, text, begin, before + blank + after, to_end=eos and until == last)


def _add_losses(
    model: LanguageModel[Any],
    batch: ScoreBatch,
    words: WordScores,
    part: list[_Place],
    misfits: NDArray[np.float64],
) -> None:
    """Add to misfits what the words after each place lose by the word in it."""
    texts = joined([place.changed for place in part])
    contexts = batch.contexts
    if contexts is not None and len(contexts) == len(batch.items):
        each = pieces(contexts)
        contexts = joined([each[place.text] for place in part])
    eos = part[0].to_end
    scores = model.score(ScoreBatch(texts, contexts, batch.bos, eos, per_token=True))
    if scores.tokens is None:
        raise TypeError("a batch scored per token has tokens")
    changed = word_scores(texts, scores.tokens, eos=eos)
    blank = model.description.tokenizer == "words"
    for i, place in enumerate(part):
        first, end = place.word - int(words.offsets[place.text]) + blank, changed.offsets[i + 1]
        without = changed.log_probs[changed.offsets[i] + first : end]
        with_it = words.log_probs[place.word + 1 : place.word + 1 + len(without)]
        misfits[place.word] += _difference(float(without.sum()), float(with_it.sum()))


def _difference(without: float, with_it: float) -> float:
    """0 for what is impossible both with and without."""
    return 0.0 if without == with_it else without - with_it


def _rows(words: WordScores) -> Iterator[tuple[int, int, int, int]]:
    """Text, index, begin and end of each word."""
    text_of = np.repeat(np.arange(len(words.offsets) - 1), np.diff(words.offsets))
    rows = zip(text_of.tolist(), words.begin_bytes.tolist(), words.end_bytes.tolist(), strict=True)
    return ((text, word, begin, end) for word, (text, begin, end) in enumerate(rows))


def _parts(places: list[_Place]) -> Iterator[list[_Place]]:
    part: list[_Place] = []
    size = 0
    for place in places:
        part.append(place)
        size += len(place.changed)
        if size >= _ENOUGH_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _texts(batch: ScoreBatch) -> Texts:
    if not isinstance(batch.items, Texts):
        raise TypeError("token sequences have no words")
    return batch.items
