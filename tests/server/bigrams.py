"""Models of pairs of tokens, whatever the tokens are, with figures that can be worked out by hand.

They say of themselves that they are networks, and are served as such.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.language_model import (
    BatchScores,
    LanguageModel,
    ModelDescription,
    NetworkDescription,
    ScoreBatch,
    Texts,
    TokenArrays,
    TokenizedTexts,
    TokenSequences,
)
from lmscore.models.text_decoder import TextDecoder
from lmscore.models.tokenization.byte_level import ByteTokenizer
from lmscore.models.tokenization.characters import CharacterTokenizer
from lmscore.models.tokenization.tokenizer import (
    NO_ID,
    SpecialIds,
    Tokenizer,
    TokenVocabulary,
)
from lmscore.models.tokenization.words import WordTokenizer

UNKNOWN_LOG_PROB = -100 * math.log(10)
"""Of an unknown token without an id."""

CHARACTERS = ["</s>", "a", "b", " ", "ü"]
AFTER = {
    "</s>": (1 / 16, 1 / 2, 1 / 4, 1 / 8, 1 / 16),
    "a": (1 / 4, 1 / 4, 1 / 4, 1 / 8, 1 / 8),
    "b": (1 / 2, 1 / 8, 1 / 8, 1 / 8, 1 / 8),
    " ": (1 / 8, 1 / 4, 1 / 2, 1 / 16, 1 / 16),
    "ü": (1 / 5,) * 5,
    "nothing": (1 / 5,) * 5,  # or an unknown character
}
"""Probabilities of CHARACTERS in this order."""


class BigramModel(LanguageModel[NDArray[np.int64]]):
    """A state is the last token, NO_ID before any and after an unknown one without an id."""

    exclusive = True

    def __init__(self, tokenizer: Tokenizer, probabilities: NDArray[np.float64]) -> None:
        """probabilities: (tokens + 1, tokens) of what follows each token and, last, nothing."""
        self.tokenizer = tokenizer
        with np.errstate(divide="ignore"):
            self.log_probs = np.log(probabilities)

    @property
    def vocabulary(self) -> TokenVocabulary:
        return self.tokenizer.vocabulary

    @property
    def description(self) -> ModelDescription:
        has_unknown = self.vocabulary.unk_id != NO_ID
        return ModelDescription(
            kind="lstm",
            tokenizer=self.tokenizer.kind,
            vocabulary_size=len(self.vocabulary),
            parameter_count=self.log_probs.size,
            memory_bytes=self.log_probs.nbytes,
            has_unknown=has_unknown,
            unknown_log_prob=-1.5 if has_unknown else UNKNOWN_LOG_PROB,
            structure=NetworkDescription(8, (650, 650), 32, True, None, "cpu", "float32"),
        )

    def initial_state(self, n: int, *, bos: bool = True) -> NDArray[np.int64]:
        return np.full(n, self.vocabulary.bos_id if bos else NO_ID)

    def gather(self, states: NDArray[np.int64], indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return states[indices]

    def concatenate(self, parts: Any) -> NDArray[np.int64]:
        joined: NDArray[np.int64] = np.concatenate(parts)
        return joined

    def read(self, texts: Texts, *, bos: bool = True) -> NDArray[np.int64]:
        tokens, states = self.tokenize(texts), self.initial_state(len(texts), bos=bos)
        for i, (begin, end) in enumerate(zip(tokens.offsets, tokens.offsets[1:], strict=False)):
            if end > begin:
                states[i] = tokens.token_ids[end - 1]
        return states

    def advance(
        self,
        states: NDArray[np.int64],  # noqa: ARG002 only the last token matters
        token_ids: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        return token_ids.copy()

    def next_log_probs(self, states: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.log_probs[states]  # the last row for NO_ID

    def tokenize(self, texts: Texts) -> TokenizedTexts:
        return self.tokenizer.encode(texts)

    def text_decoder(self, prompt: bytes) -> TextDecoder:
        return self.tokenizer.text_decoder(prompt)

    def score(self, batch: ScoreBatch) -> BatchScores:
        events = [self._events(batch, i) for i in range(len(batch.items))]
        states = self.states_before(batch)
        offsets = np.cumsum([0, *(len(ids) for ids, *_ in events)])
        ids = np.concatenate([np.empty(0, np.int64), *(ids for ids, *_ in events)])
        oov = np.concatenate([np.empty(0, np.bool_), *(oov for _, oov, *_ in events)])
        log_probs = np.array(
            [
                self.log_probs[last, token] if token != NO_ID else UNKNOWN_LOG_PROB
                for state, (tokens, *_) in zip(states, events, strict=True)
                for last, token in zip([state, *tokens[:-1]], tokens, strict=False)
            ],
            np.float64,
        )
        spans = [slice(*offsets[i : i + 2]) for i in range(len(events))]
        places = [np.concatenate([np.empty(0, np.int64), *(e[k] for e in events)]) for k in (2, 3)]
        of_texts = isinstance(batch.items, Texts)
        begins, ends = places if of_texts else (None, None)
        tokens = TokenArrays(offsets, ids, log_probs, oov, begins, ends, None)
        return BatchScores(
            np.array([log_probs[s].sum() for s in spans]),
            np.array([log_probs[s][~oov[s]].sum() for s in spans]),
            np.diff(offsets),
            np.array([oov[s].sum() for s in spans], np.int64),
            tokens if batch.per_token else None,
        )

    def _events(self, batch: ScoreBatch, i: int) -> tuple[NDArray[Any], ...]:
        """Ids, whether unknown, and begin and end of the events of an item."""
        span = slice(*batch.items.offsets[i : i + 2])
        if isinstance(batch.items, TokenSequences):
            ids = batch.items.ids[span]
            columns: tuple[NDArray[Any], ...] = (ids, ids == self.vocabulary.unk_id, ids, ids)
            size = 0
        else:
            data = batch.items.data[span]
            size = len(data)
            tokens = self.tokenize(Texts(data, np.array([0, size])))
            columns = (tokens.token_ids, tokens.oov, tokens.begin_bytes, tokens.end_bytes)
        if not batch.eos:
            return columns
        end = (self.vocabulary.eos_id, False, size, size)
        return tuple(np.append(column, last) for column, last in zip(columns, end, strict=True))


def characters() -> BigramModel:
    """CHARACTERS after AFTER; one symbol for the beginning and the end, none for the unknown."""
    tokenizer = CharacterTokenizer(CHARACTERS, SpecialIds(0, 0, NO_ID))
    return BigramModel(tokenizer, np.array([AFTER[token] for token in [*CHARACTERS, "nothing"]]))


def characters_with_unknown() -> BigramModel:
    """Each special token of its own."""
    tokens = ["<s>", "</s>", "<unk>", "a", "b", " "]
    tokenizer = CharacterTokenizer(tokens, SpecialIds(0, 1, 2))
    return BigramModel(tokenizer, _random(len(tokens), never=0))


def all_bytes() -> BigramModel:
    """Bytes, of which every text consists."""
    return BigramModel(ByteTokenizer(), _random(257))


def words() -> BigramModel:
    """Words, as n-gram models have them."""
    return BigramModel(WordTokenizer(["</s>", "<unk>", "a", "b"], SpecialIds(0, 0, 1)), _random(4))


def subwords() -> BigramModel:
    """Pieces that begin with the blank before them, and bytes for what they cannot spell."""
    from tokenizers import Tokenizer as LibraryTokenizer
    from tokenizers import decoders, normalizers
    from tokenizers.models import BPE

    from lmscore.models.tokenization.huggingface import HuggingFaceTokenizer

    tokens = ["</s>", "<unk>", *(f"<0x{i:02X}>" for i in range(256)), "\u2581", "a", "b"]
    merges = [("\u2581", "a"), ("\u2581", "b"), ("\u2581a", "b")]
    tokens += [first + second for first, second in merges]
    ids = {token: i for i, token in enumerate(tokens)}
    library = LibraryTokenizer(BPE(ids, merges, byte_fallback=True, unk_token="<unk>"))  # noqa: S106
    library.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    library.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return BigramModel(HuggingFaceTokenizer(library, SpecialIds(0, 0, 1)), _random(len(tokens)))


KINDS = {
    "characters": characters,
    "characters with unknown": characters_with_unknown,
    "bytes": all_bytes,
    "words": words,
    "subwords": subwords,
}


def _random(tokens: int, never: int | None = None) -> NDArray[np.float64]:
    numbers = np.random.default_rng(0).random((tokens + 1, tokens))
    if never is not None:
        numbers[:, never] = 0
    normalized: NDArray[np.float64] = numbers / numbers.sum(1, keepdims=True)
    return normalized
