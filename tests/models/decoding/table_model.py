"""A language model that is a table: the next token depends on the last one alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lmscore.models.language_model import (
    BatchScores,
    LanguageModel,
    ModelDescription,
    NgramDescription,
    ScoreBatch,
    Texts,
    TokenizedTexts,
    TokenSequences,
)
from lmscore.models.tokenization.decoder import WordDecoder
from lmscore.models.tokenization.tokenizer import SpecialIds, TokenVocabulary

BOS, EOS, UNK = 0, 1, 2


class TableModel(LanguageModel[NDArray[np.int64]]):
    """Tokens are ``<s>``, ``</s>``, ``<unk>`` and letters; a state is the last token."""

    def __init__(
        self, probs: NDArray[np.float64], *, dtype: type[np.floating] = np.float64
    ) -> None:
        with np.errstate(divide="ignore"):
            self.table = np.log(probs).astype(dtype)  # (tokens, tokens)
        letters = [chr(ord("a") + i) for i in range(len(probs) - 3)]
        self._vocabulary = TokenVocabulary(["<s>", "</s>", "<unk>", *letters], SpecialIds(0, 1, 2))

    @classmethod
    def random(cls, seed: int, letters: int = 3, *, peakedness: float = 1.0) -> TableModel:
        """Any probabilities; ``<s>`` has none."""
        logits = np.random.default_rng(seed).normal(0, peakedness, (letters + 3, letters + 3))
        probs = np.exp(logits)
        probs[:, BOS] = 0
        return cls(probs / probs.sum(axis=1, keepdims=True))

    @property
    def vocabulary(self) -> TokenVocabulary:
        return self._vocabulary

    @property
    def description(self) -> ModelDescription:
        size = len(self.table)
        return ModelDescription(
            kind="ngram",
            tokenizer="words",
            vocabulary_size=size,
            parameter_count=size * size,
            memory_bytes=8 * size * size,
            has_unknown=True,
            unknown_log_prob=0.0,
            structure=NgramDescription(2, (size, size * size)),
        )

    def initial_state(self, n: int, *, bos: bool = True) -> NDArray[np.int64]:
        assert bos
        return np.full(n, BOS, np.int64)

    def gather(self, states: NDArray[np.int64], indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return states[indices]

    def concatenate(self, parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.concatenate(parts)

    def read(self, texts: Texts, *, bos: bool = True) -> NDArray[np.int64]:
        states = self.initial_state(len(texts), bos=bos)
        tokens = self.tokenize(texts)
        ends = tokens.offsets[1:]
        some = ends > tokens.offsets[:-1]
        states[some] = tokens.token_ids[ends[some] - 1]
        return states

    def advance(self, states: NDArray[np.int64], token_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        assert len(states) == len(token_ids)
        return token_ids

    def next_log_probs(self, states: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.table[states]

    def tokenize(self, texts: Texts) -> TokenizedTexts:
        words = [
            texts.data[begin:end].tobytes().decode().split()
            for begin, end in zip(texts.offsets, texts.offsets[1:], strict=False)
        ]
        ids = np.array([self._vocabulary.id(word) for text in words for word in text], np.int64)
        offsets = np.cumsum([0, *map(len, words)])
        return TokenizedTexts(offsets, ids, ids, ids, ids == UNK)

    def text_decoder(self, prompt: bytes) -> WordDecoder:
        return WordDecoder.of(prompt, self._vocabulary)

    def score(self, batch: ScoreBatch) -> BatchScores:
        assert isinstance(batch.items, TokenSequences)
        sequences = np.split(batch.items.ids, batch.items.offsets[1:-1])
        totals = np.array([self.log_prob(ids.tolist()) for ids in sequences])
        counts = np.diff(batch.items.offsets)
        return BatchScores(totals, totals, counts, np.zeros_like(counts))

    def log_prob(self, tokens: list[int], last: int = BOS) -> float:
        """Of tokens after one."""
        before = [last, *tokens]
        return float(sum(self.table[a, b] for a, b in zip(before, tokens, strict=False)))

    def texts(self, max_tokens: int) -> list[list[int]]:
        """All that can be generated: ends with ``</s>``, or is as long as may be."""
        words = range(3, len(self.table))
        whole = [[*text, EOS] for n in range(max_tokens) for text in product(words, repeat=n)]
        return whole + [list(text) for text in product(words, repeat=max_tokens)]
