"""A KenLM binary as a language model: scores as KenLM's own, in nats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import ModelFormatError
from lmscore.models.kenlm.binary import KenlmBinary
from lmscore.models.kenlm.row import NONE, Edges, Row, Sequences
from lmscore.models.kenlm.search import Matches, Queries, charged
from lmscore.models.kenlm.spans import Words, places_in_texts, split_words
from lmscore.models.kenlm.vocabulary import KenlmVocabulary
from lmscore.models.kenlm.word_hashes import UNK_ID
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
from lmscore.models.ngram.results import LN10, Events, batch_scores, checked_ids
from lmscore.models.tokenization.decoder import WordDecoder

_ABSENT = np.uint32(0xFFFFFFFF)  # in a state, before the first word; no word has this id
_FLOOR_LOG10_PROB = -100.0  # what build_binary gives <unk> where the ARPA file had none
_NO_CONTEXT = Texts.from_strings([""])


class KenlmModel(LanguageModel[NDArray[np.uint32]]):
    """The n-grams of a mapped file.

    A state is a row of the order - 1 word ids that precede, oldest first: (n, order - 1).
    """

    def __init__(self, binary: KenlmBinary) -> None:
        self._binary = binary
        self._order = binary.header.order
        self._bos = binary.vocabulary.bos_id

    @classmethod
    def open(cls, path: Path, *, copy: bool = False) -> Self:
        """Map a file or copy it into memory; raises ModelNotFoundError or ModelFormatError."""
        return cls(KenlmBinary.open(path, copy=copy))

    @property
    def vocabulary(self) -> KenlmVocabulary:
        """The tokens, by id; without names if the file was built without words."""
        return self._binary.vocabulary

    @property
    def description(self) -> ModelDescription:
        """What the model is made of; has_unknown is False if build_binary's floor stands in."""
        counts = self._binary.header.counts
        unknown = self._log10_probs_after(np.empty(0, np.uint32), np.array([UNK_ID], np.uint32))[0]
        return ModelDescription(
            kind="ngram",
            tokenizer="words",
            vocabulary_size=len(self.vocabulary),
            parameter_count=2 * sum(counts[:-1]) + counts[-1],
            memory_bytes=self._binary.size,
            has_unknown=bool(unknown != _FLOOR_LOG10_PROB),
            unknown_log_prob=float(unknown) * LN10,
            structure=NgramDescription(self._order, counts),
        )

    def initial_state(self, n: int, *, bos: bool = True) -> NDArray[np.uint32]:
        """N states after ``<s>`` if bos, else without any context."""
        states = np.full((n, self._order - 1), _ABSENT, np.uint32)
        if bos:
            states[:, -1] = self._bos
        return states

    def gather(self, states: NDArray[np.uint32], indices: NDArray[np.int64]) -> NDArray[np.uint32]:
        """The states at some indices."""
        return states[indices]

    def concatenate(self, parts: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint32]:
        """The states of several batches in one."""
        return np.concatenate(parts)

    def read(self, texts: Texts, *, bos: bool = True) -> NDArray[np.uint32]:
        """The states after texts: their last words."""
        words = split_words(texts)
        ids = self._ids(texts, words)
        states = self.initial_state(len(texts), bos=False)
        begins, ends = words.offsets[:-1], words.offsets[1:]
        for column in range(self._order - 1):
            place = ends - (self._order - 1 - column)  # of the word that belongs there
            states[place >= begins, column] = ids[place[place >= begins]]
            if bos:
                states[place == begins - 1, column] = self._bos
        return states

    def advance(
        self, states: NDArray[np.uint32], token_ids: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        """The states after one more token each."""
        if len(token_ids) and not 0 <= token_ids.min() <= token_ids.max() < len(self.vocabulary):
            raise ValueError("a token id that is not of this vocabulary")
        return np.column_stack((states[:, 1:], token_ids.astype(np.uint32)))

    def read_tokens(self, states: NDArray[np.uint32], tokens: TokenSequences) -> NDArray[np.uint32]:
        """The states after one more sequence of tokens each: the last words of both."""
        begins, ends = tokens.offsets[:-1], tokens.offsets[1:]
        after = np.empty_like(states)
        for column in range(self._order - 1):
            place = ends - (self._order - 1 - column)  # of the word that belongs there
            new = place >= begins
            after[new, column] = tokens.ids[place[new]]
            after[~new, column] = states[~new, (column + ends - begins)[~new]]
        return after

    def next_log_probs(self, states: NDArray[np.uint32]) -> NDArray[np.float64]:
        """Log-probability of every token after each state, in nats: (n, vocabulary).

        Looks every word up: a KenLM file cannot list the words that follow a context. Raises
        CapabilityError if the file stores no words.
        """
        self.vocabulary.require_words()
        if ((states >= len(self.vocabulary)) & (states != _ABSENT)).any():
            raise ValueError("a state that is not of this model")
        distinct, inverse = np.unique(states, axis=0, return_inverse=True)
        rows = np.empty((len(distinct), len(self.vocabulary)))
        words = np.arange(len(self.vocabulary), dtype=np.uint32)
        for state, row in zip(distinct, rows, strict=True):
            row[:] = self._log10_probs_after(state[state != _ABSENT], words)
        rows *= LN10
        rows[:, self._bos] = -np.inf
        return rows[inverse]

    def tokenize(self, texts: Texts) -> TokenizedTexts:
        """Split texts into words."""
        words = split_words(texts)
        ids = self._ids(texts, words)
        begins, ends = places_in_texts(words, texts, eos=False)
        oov = ids == UNK_ID
        return TokenizedTexts(words.offsets, ids.astype(np.int64), begins, ends, oov)

    def text_decoder(self, prompt: bytes) -> WordDecoder:
        """Turns words that continue a prompt into text.

        Raises CapabilityError if the file stores no words.
        """
        self.vocabulary.require_words()
        return WordDecoder.of(prompt, self.vocabulary)

    def score(self, batch: ScoreBatch) -> BatchScores:
        """Score texts or token sequences.

        Raises TokenIdError for an id that is not an event of the vocabulary.
        """
        places = None
        if isinstance(batch.items, TokenSequences):
            items = Sequences(checked_ids(batch.items, self.vocabulary), batch.items.offsets)
        else:
            words = split_words(batch.items)
            items = Sequences(self._ids(batch.items, words), words.offsets)
            if batch.per_token:
                places = places_in_texts(words, batch.items, eos=batch.eos)
        row = self._row(batch, items)
        queries = row.queries()
        matches = self._binary.look_up(queries)
        log10_probs = self._charged(queries, matches, matches)[row.events]
        lengths = matches.orders[row.events]
        events = Events(row.offsets, row.words[row.events], places)
        return batch_scores(events, log10_probs, lengths, UNK_ID, per_token=batch.per_token)

    def _ids(self, texts: Texts, words: Words) -> NDArray[np.uint32]:
        return self.vocabulary.ids(texts.data, words.begins, words.ends)

    def _row(self, batch: ScoreBatch, items: Sequences) -> Row:
        texts = batch.contexts if batch.contexts is not None else _NO_CONTEXT
        words = split_words(texts)
        contexts = Sequences(self._ids(texts, words), words.offsets)
        bos = self._bos if batch.bos else NONE
        eos = self.vocabulary.eos_id if batch.eos else NONE
        return Row.of(items, contexts, Edges(bos, eos, self._order - 1))

    def _log10_probs_after(
        self, context: NDArray[np.uint32], words: NDArray[np.uint32]
    ) -> NDArray[np.float32]:
        """The log10 probability of each word after one context of at most order - 1 words."""
        known = len(context)
        before = Queries(context, context, np.arange(known), np.arange(known))
        ends = np.full(len(words), known)
        after = Queries(words, context, ends, ends)
        return self._charged(after, self._binary.look_up(after), self._binary.look_up(before))

    def _charged(
        self, queries: Queries, matches: Matches, contexts: Matches
    ) -> NDArray[np.float32]:
        log10_probs = charged(queries, matches, contexts)
        if np.isnan(log10_probs).any():
            raise ModelFormatError(self._binary.path, "a probability in the file is not a number")
        return log10_probs
