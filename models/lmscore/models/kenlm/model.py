"""A KenLM binary as a language model: scores as KenLM's own, in nats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import ModelFormatError, TokenIdError
from lmscore.models.kenlm.binary import KenlmBinary
from lmscore.models.kenlm.events import (
    NATS,
    NO_TOKEN,
    Edges,
    Row,
    Words,
    event_bytes,
    gather_tokens,
    lay_out,
    split_words,
    summarize,
)
from lmscore.models.kenlm.search import Queries, charged
from lmscore.models.kenlm.vocabulary import KenlmVocabulary
from lmscore.models.kenlm.word_hashes import UNK_ID
from lmscore.models.language_model import (
    BatchScores,
    LanguageModel,
    ModelDescription,
    ScoreBatch,
    Texts,
    TokenizedTexts,
    TokenSequences,
)

_FLOOR = -100.0  # log10, what build_binary gives <unk> where the ARPA file had none
_NO_CONTEXT = Texts.from_strings([""])


class KenlmModel(LanguageModel[NDArray[np.int32]]):
    """The n-grams of a mapped file.

    A state is a row of the order - 1 word ids that precede, oldest first: (n, order - 1).
    """

    def __init__(self, binary: KenlmBinary) -> None:
        self._binary = binary
        self._order = binary.header.order
        self._bos_id = binary.vocabulary.bos_id

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a file; raises ModelNotFoundError or ModelFormatError."""
        return cls(KenlmBinary.open(path))

    @property
    def vocabulary(self) -> KenlmVocabulary:
        """The tokens, by id; without names if the file was built without words."""
        return self._binary.vocabulary

    @property
    def description(self) -> ModelDescription:
        """What the model is made of; has_unknown is False if build_binary's floor stands in."""
        counts = self._binary.header.counts
        unknown = self._log10_probs_after(np.empty(0, np.int32), np.array([UNK_ID], np.int32))[0]
        return ModelDescription(
            kind="ngram",
            vocabulary_size=len(self.vocabulary),
            parameter_count=2 * sum(counts[:-1]) + counts[-1],
            memory_bytes=self._binary.size,
            order=self._order,
            ngram_counts=counts,
            has_unknown=bool(unknown != _FLOOR),
            unknown_log_prob=float(unknown) * NATS,
        )

    def initial_state(self, n: int, *, bos: bool = True) -> NDArray[np.int32]:
        """N states after ``<s>`` if bos, else without any context."""
        states = np.full((n, self._order - 1), NO_TOKEN, np.int32)
        if bos:
            states[:, -1] = self._bos_id
        return states

    def advance(self, states: NDArray[np.int32], token_ids: NDArray[np.int64]) -> NDArray[np.int32]:
        """The states after one more token each."""
        return np.column_stack((states[:, 1:], token_ids.astype(np.int32)))

    def next_log_probs(self, states: NDArray[np.int32]) -> NDArray[np.float64]:
        """Log-probability of every token after each state, in nats: (n, vocabulary).

        Looks every word up: a KenLM file cannot list the words that follow a context. Raises
        CapabilityError if the file stores no words.
        """
        self.vocabulary.stored_words()
        distinct, inverse = np.unique(states, axis=0, return_inverse=True)
        rows = np.empty((len(distinct), len(self.vocabulary)))
        words = np.arange(len(self.vocabulary), dtype=np.int32)
        for state, row in zip(distinct, rows, strict=True):
            row[:] = self._log10_probs_after(state[state != NO_TOKEN], words)
        rows *= NATS
        rows[:, self._bos_id] = -np.inf
        return rows[inverse]

    def tokenize(self, texts: Texts) -> TokenizedTexts:
        """Split texts into words."""
        words = split_words(texts.data, texts.offsets)
        ids = self._ids(texts, words)
        starts = np.repeat(texts.offsets[:-1], np.diff(words.offsets))
        return TokenizedTexts(
            words.offsets,
            ids.astype(np.int64),
            words.begins - starts,
            words.ends - starts,
            ids == UNK_ID,
        )

    def score(self, batch: ScoreBatch) -> BatchScores:
        """Score texts, or token ids, which raise TokenIdError where they are not events."""
        words, ids, offsets = self._items(batch.items)
        row = self._row(batch, ids, offsets)
        queries = row.queries()
        matches = self._binary.look_up(queries)
        log_probs = charged(queries, matches, matches) * np.float64(NATS)
        scores = summarize(row, log_probs)
        if np.isnan(scores.log_probs).any():
            raise ModelFormatError(self._binary.path, "a probability in the file is not a number")
        if not batch.per_token:
            return scores
        tokens = gather_tokens(row, log_probs, matches.orders)
        if isinstance(batch.items, Texts):
            begins, ends = event_bytes(batch.items, words, batch.eos)
            tokens = replace(tokens, begin_bytes=begins, end_bytes=ends)
        return replace(scores, tokens=tokens)

    def _ids(self, texts: Texts, words: Words) -> NDArray[np.int32]:
        return self.vocabulary.ids(texts.data, words.begins, words.ends)

    def _items(
        self, items: Texts | TokenSequences
    ) -> tuple[Words | None, NDArray[np.int32], NDArray[np.int64]]:
        """The items' words, if texts, their ids, and where each item's begin in these."""
        if isinstance(items, Texts):
            words = split_words(items.data, items.offsets)
            return words, self._ids(items, words), words.offsets
        self._check_events(items)
        return None, items.ids.astype(np.int32), items.offsets

    def _check_events(self, items: TokenSequences) -> None:
        ids = items.ids
        bad = np.flatnonzero((ids < 0) | (ids >= len(self.vocabulary)) | (ids == self._bos_id))
        if len(bad) == 0:
            return
        index = int(np.searchsorted(items.offsets, bad[0], side="right")) - 1
        token_id = int(ids[bad[0]])
        problem = (
            f"{token_id} is <s>, which is context and never an event"
            if token_id == self._bos_id
            else f"{token_id} is not in 0 ... {len(self.vocabulary) - 1}"
        )
        raise TokenIdError(index, int(bad[0] - items.offsets[index]), problem)

    def _row(self, batch: ScoreBatch, ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> Row:
        contexts = batch.contexts if batch.contexts is not None else _NO_CONTEXT
        words = split_words(contexts.data, contexts.offsets)
        edges = Edges(
            self._order,
            self._bos_id if batch.bos else NO_TOKEN,
            self.vocabulary.eos_id if batch.eos else NO_TOKEN,
        )
        return lay_out(ids, offsets, self._ids(contexts, words), words.offsets, edges)

    def _log10_probs_after(
        self, context: NDArray[np.int32], words: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The log10 probability of each word after one context of at most order - 1 words."""
        known = len(context)
        before = Queries(context, context, np.arange(known), np.arange(known))
        ends = np.full(len(words), known)
        after = Queries(words, context, ends, ends)
        return charged(after, self._binary.look_up(after), self._binary.look_up(before))
