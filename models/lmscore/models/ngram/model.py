"""An n-gram model as a LanguageModel: states are numbers, a batch of them an array."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

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
from lmscore.models.ngram.automaton import ROOT, START, Children, Entries
from lmscore.models.ngram.base_lists import BaseLists
from lmscore.models.ngram.distribution import next_log_probs, unigram_row
from lmscore.models.ngram.drawing import by_probability, draw_words, likeliest_words
from lmscore.models.ngram.excess import Excess, UnigramSums, unigram_sums
from lmscore.models.ngram.results import (
    LN10,
    Events,
    batch_scores,
    empty_scores,
    events_of_sequences,
)
from lmscore.models.ngram.scoring import (
    count_words,
    score_texts,
    tokenize_texts,
    walk,
)
from lmscore.models.ngram.vocabulary import NgramVocabulary
from lmscore.models.tokenization.decoder import WordDecoder

_MOST_SUMS = 16  # temperatures whose sums are kept, of eight bytes a word each

_NO_LENGTHS = np.empty(0, np.uint8)


class NgramModel(LanguageModel[NDArray[np.uint32]]):
    """A back-off model; equal to KenLM's, and as exact: float32 sums in log10, turned into nats.

    A state is the number of the longest suffix of the tokens so far that matters for what follows.
    """

    draws = True
    quick_bytes = 16_384  # three thousand words, a third of a millisecond

    def __init__(
        self,
        entries: Entries,
        children: Children,
        vocabulary: NgramVocabulary,
        *,
        ngram_counts: tuple[int, ...],
        has_unknown: bool,
    ) -> None:
        """ngram_counts is by length, from 1; has_unknown as in ModelDescription."""
        self.entries = entries
        self.children = children
        self._vocabulary = vocabulary
        self.ngram_counts = ngram_counts
        self.has_unknown = has_unknown
        self._sums: dict[float, UnigramSums] = {}  # by temperature

    @property
    def vocabulary(self) -> NgramVocabulary:
        """The words, by id."""
        return self._vocabulary

    @property
    def description(self) -> ModelDescription:
        """What the model is made of."""
        entries, vocabulary = self.entries, self._vocabulary
        arrays = (*entries, *self.children, vocabulary.pool, vocabulary.offsets, *vocabulary.table)
        return ModelDescription(
            kind="ngram",
            tokenizer="words",
            vocabulary_size=len(vocabulary),
            parameter_count=sum(self.ngram_counts) + sum(self.ngram_counts[:-1]),
            # values is the memory of slots once more
            memory_bytes=sum(array.nbytes for array in arrays) - entries.values.nbytes,
            has_unknown=self.has_unknown,
            unknown_log_prob=self._log10_prob_of_unknown() * LN10,
            structure=NgramDescription(entries.order, self.ngram_counts),
        )

    def _log10_prob_of_unknown(self) -> float:
        """Without a context, by the loop that scores: a helper would be compiled at every start."""
        log10_prob = np.empty(1, np.float32)
        unknown = np.array([self._vocabulary.unk_id], np.uint32)
        nothing_read = np.full(1, ROOT, np.uint32)
        walk(self.entries, unknown, np.array([0, 1]), nothing_read, log10_prob, _NO_LENGTHS)
        return float(log10_prob[0])

    def initial_state(self, n: int, *, bos: bool = True) -> NDArray[np.uint32]:
        """N states before any token: after ``<s>`` if bos, else without any context."""
        return np.full(n, self._after_bos if bos else ROOT, np.uint32)

    @cached_property
    def _after_bos(self) -> int:
        nothing_read = np.full(1, ROOT, np.uint32)
        return int(self.advance(nothing_read, np.array([self._vocabulary.bos_id]))[0])

    def gather(self, states: NDArray[np.uint32], indices: NDArray[np.int64]) -> NDArray[np.uint32]:
        """The states at some indices: (indices,)."""
        return states[indices]

    def concatenate(self, parts: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint32]:
        """The states of several batches in one."""
        return np.concatenate(parts)

    def read(self, texts: Texts, *, bos: bool = True) -> NDArray[np.uint32]:
        """The states after texts: (texts,)."""
        states = self.initial_state(len(texts), bos=bos)
        self._score_texts(texts, states, eos=False)  # which moves the states on
        return states

    def advance(
        self, states: NDArray[np.uint32], token_ids: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        """The states after one more token each; token_ids: (n,)."""
        return self.read_tokens(states, TokenSequences(token_ids, np.arange(len(token_ids) + 1)))

    def read_tokens(self, states: NDArray[np.uint32], tokens: TokenSequences) -> NDArray[np.uint32]:
        """The states after one more sequence of tokens each."""
        states = self._checked(states).copy()
        ids = self._checked_ids(tokens.ids)
        walk(self.entries, ids, tokens.offsets, states, np.empty(len(ids), np.float32), _NO_LENGTHS)
        return states

    def next_log_probs(self, states: NDArray[np.uint32]) -> NDArray[np.float64]:
        """Log-probability of every token after each state, in nats: (n, vocabulary)."""
        states = self._checked(states)
        bos = self._vocabulary.bos_id
        return next_log_probs(self.entries, self.children, self._unigrams, states, bos)

    @cached_property
    def _unigrams(self) -> NDArray[np.float32]:
        return unigram_row(self.entries)

    def draw(
        self,
        states: NDArray[np.uint32],
        temperatures: NDArray[np.float64],
        excluded: NDArray[np.int64],
        uniforms: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """A word after each state and its log-probability, without the whole distribution."""
        states = self._checked(states)
        excluded = np.sort(excluded, axis=1)
        if len(states) and (temperatures == temperatures[0]).all():
            return self._draw(float(temperatures[0]), states, excluded, uniforms)
        tokens, log_probs = np.empty(len(states), np.int64), np.empty(len(states))
        for temperature in np.unique(temperatures).tolist():
            rows = np.flatnonzero(temperatures == temperature)
            found = self._draw(temperature, states[rows], excluded[rows], uniforms[rows])
            tokens[rows], log_probs[rows] = found
        return tokens, log_probs

    def _draw(
        self,
        temperature: float,
        states: NDArray[np.uint32],
        excluded: NDArray[np.int64],
        uniforms: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        order = self.entries.order
        memory = (
            np.empty(order + 1, np.int64),
            np.empty(order + 1, np.float32),
            Excess.of(len(self._vocabulary)),
        )
        found = np.empty(len(states), np.int64), np.empty(len(states))
        model = self.entries, self.children, self._unigrams
        if temperature == 0:
            likeliest_words(*model, self._likeliest, states, excluded, *memory, *found)
        else:
            sums = self._unigram_sums(temperature)
            bases = self._base_lists.of(states, sums, memory)
            draw_words(*model, sums, bases, states, excluded, uniforms, *memory, *found)
        return found

    @cached_property
    def _likeliest(self) -> NDArray[np.int64]:
        return by_probability(self._unigrams)

    @cached_property
    def _base_lists(self) -> BaseLists:
        return BaseLists(self.entries, self.children, len(self._vocabulary))

    def _unigram_sums(self, temperature: float) -> UnigramSums:
        """The sums at a temperature; those of the last few are kept."""
        sums = self._sums.get(temperature)
        if sums is None:
            sums = unigram_sums(self._unigrams, temperature)
            while len(self._sums) >= _MOST_SUMS:
                self._sums.pop(next(iter(self._sums)), None)
            self._sums[temperature] = sums
        return sums

    def tokenize(self, texts: Texts) -> TokenizedTexts:
        """Split texts into words; an event's end is not among them."""
        offsets, ids, begins, ends = self._tokenize(texts, eos=False)
        return TokenizedTexts(
            offsets, ids.astype(np.int64), begins, ends, ids == self._vocabulary.unk_id
        )

    def text_decoder(self, prompt: bytes) -> WordDecoder:
        """Turns words that continue a prompt into text."""
        return WordDecoder.of(prompt, self._vocabulary)

    def score(self, batch: ScoreBatch) -> BatchScores:
        """Score a batch of texts or token sequences.

        Raises TokenIdError for an id that is not an event of the vocabulary.
        """
        states = self.states_before(batch)
        if isinstance(batch.items, TokenSequences):
            events = events_of_sequences(batch.items, self._vocabulary, eos=batch.eos)
            return self._score_events(events, states, per_token=batch.per_token)
        if batch.per_token:
            offsets, ids, begins, ends = self._tokenize(batch.items, eos=batch.eos)
            events = Events(offsets, ids, (begins, ends))
            return self._score_events(events, states, per_token=True)
        return self._score_texts(batch.items, states, eos=batch.eos)

    def _score_texts(self, texts: Texts, states: NDArray[np.uint32], *, eos: bool) -> BatchScores:
        """Score without anything per token; states moves on to the ends of the texts."""
        scores = empty_scores(len(texts))
        score_texts(
            self.entries,
            self._vocabulary.table,
            texts.data,
            texts.offsets,
            states,
            self._vocabulary.unk_id,
            self._vocabulary.eos_id if eos else -1,
            scores.log_probs,
            scores.log_probs_excluding_oov,
            scores.token_counts,
            scores.oov_counts,
        )
        return scores

    def _score_events(
        self, events: Events, states: NDArray[np.uint32], *, per_token: bool
    ) -> BatchScores:
        """Score events that are known by id."""
        log10_probs = np.empty(len(events.ids), np.float32)
        lengths = np.empty(len(events.ids), np.uint8)
        walk(self.entries, events.ids, events.offsets, states, log10_probs, lengths)
        unk = self._vocabulary.unk_id
        return batch_scores(events, log10_probs, lengths, unk, per_token=per_token)

    def _tokenize(
        self, texts: Texts, *, eos: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
        """Offsets of the words of each text, their ids, and the bytes from and to of each."""
        counts = np.empty(len(texts), np.int64)
        count_words(texts.data, texts.offsets, counts)
        offsets = np.concatenate(([0], np.cumsum(counts + int(eos))))
        ids = np.empty(offsets[-1], np.uint32)
        begins, ends = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64)
        tokenize_texts(
            self._vocabulary.table,
            texts.data,
            texts.offsets,
            self._vocabulary.unk_id,
            self._vocabulary.eos_id if eos else -1,
            offsets,
            ids,
            begins,
            ends,
        )
        return offsets, ids, begins, ends

    def _checked(self, states: NDArray[np.uint32]) -> NDArray[np.uint32]:
        if len(states) and int(states.max()) >= self.entries.levels[-1, START]:
            raise ValueError("a state that is not of this model")
        return states

    def _checked_ids(self, token_ids: NDArray[np.int64]) -> NDArray[np.uint32]:
        if len(token_ids) and not 0 <= token_ids.min() <= token_ids.max() < len(self._vocabulary):
            raise ValueError("a token id that is not of this vocabulary")
        return token_ids.astype(np.uint32)
