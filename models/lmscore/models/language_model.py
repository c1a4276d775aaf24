"""What every language model is: state in, state out, and a fast path that scores whole batches.

The scoring contract. All log-probabilities are natural logarithms. A text is scored as
``<s> w1 … wn </s>``: ``<s>`` is context and never an event, ``</s>`` is an event. A word that the
vocabulary lacks becomes ``<unk>`` and is flagged. A score depends on its text, context and flags
alone, never on the rest of the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import CapabilityError
from lmscore.models.text_decoder import TextDecoder
from lmscore.models.vocabulary import Vocabulary

State = TypeVar("State")
"""A batch of model states: an array, or a tuple of arrays, that can be gathered by index."""

WORD_SEPARATORS = np.frombuffer(b"\0\t\n\r ", np.uint8)
"""What ARPA files can separate words by; any other white space is part of a word."""

_IN_WORD = ~np.isin(np.arange(256), WORD_SEPARATORS)  # by byte


@dataclass(frozen=True, slots=True)
class Texts:
    """A batch of texts in one UTF-8 buffer: text i is data[offsets[i]:offsets[i + 1]]."""

    data: NDArray[np.uint8]  # (bytes,)
    offsets: NDArray[np.int64]  # (texts + 1,)

    @classmethod
    def from_strings(cls, strings: list[str]) -> Self:
        """Encode strings; a lone surrogate raises UnicodeEncodeError."""
        joined = "".join(strings)
        data = np.frombuffer(joined.encode(), np.uint8)
        lengths = np.fromiter(map(len, strings), np.int64, len(strings))
        if data.size != len(joined):  # not all ASCII: characters are not bytes
            lengths = np.fromiter((len(s.encode()) for s in strings), np.int64, len(strings))
        return cls(data, np.concatenate(([0], np.cumsum(lengths))))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def encoded(self) -> list[bytes]:
        """The texts, one by one."""
        data, offsets = self.data.tobytes(), self.offsets.tolist()
        return [data[begin:end] for begin, end in pairwise(offsets)]

    def without(self, indices: NDArray[np.int64]) -> Self:
        """The other texts."""
        lengths = np.diff(self.offsets)
        kept = np.ones(len(self), np.bool_)
        kept[indices] = False
        data = np.frombuffer(self.data[np.repeat(kept, lengths)].tobytes(), np.uint8)
        return type(self)(data, np.concatenate(([0], np.cumsum(lengths[kept]))))

    def word_counts(self) -> NDArray[np.int64]:
        """Number of words between NUL, tab, line feed, carriage return and space: (texts,)."""
        in_word = _IN_WORD[self.data]
        follows_word = np.concatenate(([False], in_word[:-1])) if in_word.size else in_word
        follows_word[self.offsets[:-1][self.offsets[:-1] < in_word.size]] = False  # texts begin
        starts = np.flatnonzero(in_word & ~follows_word)
        return np.diff(np.searchsorted(starts, self.offsets))


@dataclass(frozen=True, slots=True)
class TokenSequences:
    """A batch of token ids: sequence i is ids[offsets[i]:offsets[i + 1]]."""

    ids: NDArray[np.int64]  # (tokens,)
    offsets: NDArray[np.int64]  # (sequences + 1,)

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """Texts or token sequences to score, and how.

    contexts holds one text that stands before every item, or one per item, and is not scored.
    """

    items: Texts | TokenSequences
    contexts: Texts | None = None
    bos: bool = True
    eos: bool = True
    per_token: bool = False


@dataclass(frozen=True, slots=True)
class TokenArrays:
    """Per-event results in parallel arrays: the events of item i are at offsets[i]:offsets[i + 1].

    Byte positions count from the start of the item's text; both are those of its end for
    ``</s>``. They are None for token sequences. matched_orders is None for models without n-grams.
    Where pruning left a file without the prefix or suffix of a longer n-gram, a blank stands for it
    whose probability is what backing off gives; matched_orders counts a blank that was found like
    any n-gram, as KenLM does with the suffixes that it inserts.
    """

    offsets: NDArray[np.int64]  # (items + 1,)
    token_ids: NDArray[np.int64]  # (events,)
    log_probs: NDArray[np.float64]  # (events,) nats
    oov: NDArray[np.bool_]  # (events,)
    begin_bytes: NDArray[np.int64] | None  # (events,)
    end_bytes: NDArray[np.int64] | None  # (events,) exclusive
    matched_orders: NDArray[np.int64] | None  # (events,) length of the n-gram that was found


@dataclass(frozen=True, slots=True)
class BatchScores:
    """Scores of a batch, one element an item; an event is a scored token, ``</s>`` included."""

    log_probs: NDArray[np.float64]  # (items,) nats; -inf where an event is impossible
    log_probs_excluding_oov: NDArray[np.float64]  # (items,) nats
    token_counts: NDArray[np.int64]  # (items,) events
    oov_counts: NDArray[np.int64]  # (items,) events out of vocabulary
    tokens: TokenArrays | None = None  # if asked for
    shared_tokens: int = 0  # not computed, because another item of the batch begins alike

    @property
    def perplexities(self) -> NDArray[np.float64]:
        """exp(-log_prob / events), 1 for an item without events."""
        return _perplexities(self.log_probs, self.token_counts)

    @property
    def perplexities_excluding_oov(self) -> NDArray[np.float64]:
        """The same over the events that are in the vocabulary."""
        return _perplexities(self.log_probs_excluding_oov, self.token_counts - self.oov_counts)


def _perplexities(log_probs: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # an impossible or absurd text has perplexity +inf
        perplexities: NDArray[np.float64] = np.exp(-log_probs / np.maximum(counts, 1))
    return perplexities


@dataclass(frozen=True, slots=True)
class TokenizedTexts:
    """Tokens of a batch of texts in parallel arrays: text i has offsets[i]:offsets[i + 1]."""

    offsets: NDArray[np.int64]  # (texts + 1,)
    token_ids: NDArray[np.int64]  # (tokens,)
    begin_bytes: NDArray[np.int64]  # (tokens,) from the start of the text
    end_bytes: NDArray[np.int64]  # (tokens,) exclusive
    oov: NDArray[np.bool_]  # (tokens,)


@dataclass(frozen=True, slots=True)
class NgramDescription:
    """What an n-gram model is made of."""

    order: int  # length of the longest n-grams
    ngram_counts: tuple[int, ...]  # by length, from 1


@dataclass(frozen=True, slots=True)
class NetworkDescription:
    """What a network is made of, and where it computes."""

    embedding_size: int
    hidden_sizes: tuple[int, ...]  # units by layer
    projection_size: int | None  # of a linear layer before the output layer
    tied: bool  # the output layer's weights are those of the embedding
    context_size: int | None  # tokens that a feed-forward network looks back; None: all
    device: str  # "cpu", "cuda:0"
    dtype: str  # "float32", "bfloat16"


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a model is made of, for people and dashboards."""

    kind: Literal["ngram", "feedforward", "rnn", "lstm", "gru"]
    tokenizer: Literal["words", "characters", "bytes", "subwords"]
    vocabulary_size: int  # tokens, ``<s>`` and ``<unk>`` included
    parameter_count: int  # weights; of an n-gram model, stored probabilities and back-off weights
    memory_bytes: int
    has_unknown: bool  # False: unknown_log_prob is a floor that the loader set
    unknown_log_prob: float  # nats, of the unigram, or where a text begins
    structure: NgramDescription | NetworkDescription


class LanguageModel(ABC, Generic[State]):
    """A function from a state and a token to a log-probability and a new state.

    Methods are pure and may be called from several threads at once.
    """

    quick_bytes: ClassVar[int] = 0
    """A batch of no more than so many bytes of text is scored sooner than handed to a thread."""

    draws: ClassVar[bool] = False
    """It can draw a token without computing the distribution of all."""

    exclusive: ClassVar[bool] = False
    """Whether a batch takes the whole machine, so that one after the other is faster than several
    at a time, and one large batch faster than many small ones."""

    @property
    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """The tokens, by id."""

    @property
    @abstractmethod
    def description(self) -> ModelDescription:
        """What the model is made of."""

    @abstractmethod
    def initial_state(self, n: int, *, bos: bool = True) -> State:
        """N states before any token: after ``<s>`` if bos, else without any context."""

    @abstractmethod
    def gather(self, states: State, indices: NDArray[np.int64]) -> State:
        """The states at some indices, which may repeat: (indices,)."""

    @abstractmethod
    def concatenate(self, parts: Sequence[State]) -> State:
        """The states of several batches, at least one, in one: (sum of the parts' sizes,)."""

    @abstractmethod
    def read(self, texts: Texts, *, bos: bool = True) -> State:
        """The states after texts, ``<s>`` before them if bos: (texts,)."""

    def states_before(self, batch: ScoreBatch) -> State:
        """The states in which the items of a batch begin, contexts read: (items,)."""
        count = len(batch.items)
        if batch.contexts is None:
            return self.initial_state(count, bos=batch.bos)
        states = self.read(batch.contexts, bos=batch.bos)
        if len(batch.contexts) == count:
            return states
        return self.gather(states, np.zeros(count, np.int64))

    @abstractmethod
    def advance(self, states: State, token_ids: NDArray[np.int64]) -> State:
        """The states after one more token each; token_ids: (n,)."""

    def read_tokens(self, states: State, tokens: TokenSequences) -> State:
        """The states after one more sequence of tokens each: (n,).

        The tokens are those of tokenize, so a long text can be read in pieces.
        """
        lengths = np.diff(tokens.offsets)
        order = np.argsort(-lengths, kind="stable")  # so that those with a t-th token come first
        begins = tokens.offsets[:-1][order]
        states, read = self.gather(states, order), []
        for t in range(int(lengths.max(initial=0))):
            active = int(np.count_nonzero(lengths > t))
            read.append(self.gather(states, np.arange(active, len(begins))))
            begins = begins[:active]
            states = self.gather(states, np.arange(active))
            states = self.advance(states, tokens.ids[begins + t])
        return self.gather(self.concatenate((states, *reversed(read))), np.argsort(order))

    @abstractmethod
    def next_log_probs(self, states: State) -> NDArray[np.floating[Any]]:
        """Log-probability of every token after each state, in nats: (n, vocabulary).

        exp of a row sums to one. The column of ``<s>`` is -inf where it is never an event, as in
        n-gram models; a network may give it what its softmax gives. The array is the caller's to
        change.
        """

    def draw(
        self,
        states: State,
        temperatures: NDArray[np.float64],
        excluded: NDArray[np.int64],
        uniforms: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """A token after each state and its log-probability in nats, for models with draws set.

        The first token at which the sum of probability ** (1 / temperature) by id exceeds
        uniform times that of all; at temperature 0 the likeliest, of equal ones the lowest id.
        excluded: (n, most) tokens that are left out, negative ones mean nothing. -1 where no token
        is left.
        """
        del states, temperatures, excluded, uniforms  # what a model with draws set would need
        raise CapabilityError("this model tells a token only by its whole distribution")

    @abstractmethod
    def tokenize(self, texts: Texts) -> TokenizedTexts:
        """Split texts into tokens."""

    @abstractmethod
    def text_decoder(self, prompt: bytes) -> TextDecoder:
        """Turns tokens that continue a prompt into text; CapabilityError if they have no names."""

    @abstractmethod
    def score(self, batch: ScoreBatch) -> BatchScores:
        """Score a batch without building distributions where that can be avoided.

        Raises TokenIdError for an id that is not an event of the vocabulary.
        """
