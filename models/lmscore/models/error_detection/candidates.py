"""Words that a model expects in a place, from what stands before it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.decoding.parameters import Beam, Decoding
from lmscore.models.decoding.rows import FinishReason
from lmscore.models.decoding.text_batch import Finished, Prompt, TextBatch
from lmscore.models.distribution import predict_after
from lmscore.models.language_model import (
    WORD_SEPARATORS,
    LanguageModel,
    ScoreBatch,
    Texts,
    TokenSequences,
)

SEPARATORS = WORD_SEPARATORS.tobytes()

_BEAM_WIDTH = 8
_LONGEST_WORD = 24  # tokens, where those are characters
_PLACES_AT_ONCE = 64
_WHOLE_WORDS = frozenset({FinishReason.STOP, FinishReason.END_OF_TEXT})


def likely_words(model: LanguageModel[Any], prefixes: ScoreBatch, count: int) -> list[list[bytes]]:
    """Up to so many likely next words after each text of a batch, likeliest first.

    The texts end where a word may begin. Where tokens are pieces of words, only words of one token
    are found, and pieces that begin longer ones; where they are characters, what a beam search
    finds. Raises CapabilityError for a model that can only score, or has no names for its tokens.
    """
    if not len(prefixes.items):
        return []
    match model.description.tokenizer:
        case "words":
            return _from_tokens(model, prefixes, count)
        case "subwords":
            return _from_tokens(model, _without_last_separators(prefixes), count)
        case "characters" | "bytes":
            return _from_beams(model, prefixes, count)


def states_after(model: LanguageModel[Any], batch: ScoreBatch) -> Any:
    """The states after the texts of a batch, with their contexts before them: (texts,)."""
    texts = _texts(batch)
    if batch.contexts is None:
        return model.read(texts, bos=batch.bos)
    tokens = model.tokenize(texts)
    read = TokenSequences(tokens.token_ids, tokens.offsets)
    return model.read_tokens(model.states_before(batch), read)


def _from_tokens(model: LanguageModel[Any], prefixes: ScoreBatch, count: int) -> list[list[bytes]]:
    texts, vocabulary = _texts(prefixes), model.vocabulary
    specials = {vocabulary.bos_id, vocabulary.eos_id, vocabulary.unk_id, -1}
    likely = predict_after(model, states_after(model, prefixes), len(texts), count)
    found = []
    for row, before in zip(likely.top_ids.tolist(), pieces(texts), strict=True):
        tokens = [token for token in row if token not in specials]
        if model.description.tokenizer == "words":
            words = [word.encode() for word in vocabulary.tokens(tokens)]
        else:
            words = list(_begun_words(model, before, tokens))
        found.append(words)
    return found


def _begun_words(model: LanguageModel[Any], before: bytes, tokens: list[int]) -> Iterator[bytes]:
    """What tokens add to a text, where that begins a word."""
    for token in tokens:
        decoder = model.text_decoder(before)
        added = decoder.push(token) + decoder.finish()
        word = added.strip(SEPARATORS)
        if word and (not before or added[:1] in SEPARATORS) and not _has_separator(word):
            yield word


def _from_beams(model: LanguageModel[Any], prefixes: ScoreBatch, count: int) -> list[list[bytes]]:
    texts = _texts(prefixes)
    width = min(_BEAM_WIDTH, count)
    settings = Decoding(
        Beam(width, num_results=width), max_tokens=_LONGEST_WORD, stop_strings=(b" ", b"\n")
    )
    states, tokens = states_after(model, prefixes), model.tokenize(texts)
    befores = pieces(texts)
    found: list[list[bytes]] = [[] for _ in befores]
    for begin in range(0, len(befores), _PLACES_AT_ONCE):
        places = np.arange(begin, min(begin + _PLACES_AT_ONCE, len(befores)))
        batch = TextBatch(model)
        prompts = [
            Prompt(i, befores[i], tokens.token_ids[slice(*tokens.offsets[i : i + 2])], settings, 0)
            for i in places.tolist()
        ]
        batch.join(model.gather(states, places), prompts)
        for place, word in _finished_words(batch):
            found[place].append(word)
    return found


def _finished_words(batch: TextBatch[Any]) -> Iterator[tuple[int, bytes]]:
    begun: dict[object, str] = {}
    while len(batch):
        for event in batch.events(batch.step()):
            text = begun[event.place] = begun.get(event.place, "") + event.text
            if isinstance(event, Finished) and event.reason in _WHOLE_WORDS:
                word = text.encode()
                if word and not _has_separator(word):
                    yield event.place.prompt, word


def pieces(texts: Texts) -> list[bytes]:
    """The texts of a batch one by one."""
    data, offsets = texts.data.tobytes(), texts.offsets.tolist()
    return [data[begin:end] for begin, end in pairwise(offsets)]


def joined(texts: list[bytes]) -> Texts:
    """Texts as a batch."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    data: NDArray[np.uint8] = np.frombuffer(b"".join(texts), np.uint8)
    return Texts(data, np.concatenate(([0], np.cumsum(lengths))))


def _without_last_separators(batch: ScoreBatch) -> ScoreBatch:
    """The same texts up to their last word: a blank is often part of the token that follows."""
    kept = [text.rstrip(SEPARATORS) for text in pieces(_texts(batch))]
    return ScoreBatch(joined(kept), batch.contexts, batch.bos, batch.eos)


def _has_separator(word: bytes) -> bool:
    return any(byte in SEPARATORS for byte in word)


def _texts(batch: ScoreBatch) -> Texts:
    if not isinstance(batch.items, Texts):
        raise TypeError("token sequences have no words")
    return batch.items
