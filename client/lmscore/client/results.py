"""What a server answers, as plain values. Log-probabilities are natural logarithms (nats)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from lmscore.client.errors import ItemError

Item = TypeVar("Item")

NO_TOKEN_ID = 2**32 - 1
"""The id of unknown tokens of a model whose vocabulary has none for them."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The model that answered."""

    name: str
    version: int  # from 1; 0 where none answered: see rescore_stream
    fingerprint: str  # SHA-256 of its files, lower-case hexadecimal; empty while it is loading


@dataclass(frozen=True, slots=True)
class Answer(Generic[Item]):
    """The items of one request, in its order, and the model that answered.

    An item that could not be answered raises its LmscoreError when it is reached by index or by
    iteration. ``outcomes`` has the ItemError in its place instead.
    """

    model: ModelIdentity
    outcomes: tuple[Item | ItemError, ...]

    def __len__(self) -> int:
        return len(self.outcomes)

    def __iter__(self) -> Iterator[Item]:
        return (_item(outcome) for outcome in self.outcomes)

    def __getitem__(self, index: int) -> Item:
        return _item(self.outcomes[index])

    @property
    def errors(self) -> dict[int, ItemError]:
        """The items without an answer, by index."""
        return {i: item for i, item in enumerate(self.outcomes) if isinstance(item, ItemError)}


def _item(outcome: Item | ItemError) -> Item:
    if isinstance(outcome, ItemError):
        raise outcome.exception()
    return outcome


@dataclass(frozen=True, slots=True)
class LikelyToken:
    """One of the likeliest tokens in a place."""

    text: str
    id: int  # in the model's vocabulary
    log_prob: float


@dataclass(frozen=True, slots=True)
class TokenScore:
    """The score of one event: a token of the text, or the `</s>` after it."""

    text: str
    id: int  # in the model's vocabulary; NO_TOKEN_ID for an unknown token where it has none
    log_prob: float  # given everything before it; -inf if impossible
    oov: bool
    begin_byte: int | None  # in UTF-8 bytes of the given text; absent for token sequences
    end_byte: int | None  # exclusive
    matched_order: int | None  # length of the n-gram that gave it; absent for other models
    rank: int | None = None  # 1 + the number of likelier tokens; if alternatives were asked for
    entropy: float | None = None  # of the distribution in this place, in nats; likewise
    alternatives: tuple[LikelyToken, ...] = ()  # the likeliest in this place; likewise

    @property
    def surprisal(self) -> float:
        """Negative log-probability, in nats; +inf if impossible."""
        return 0.0 - self.log_prob  # never -0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """What may follow a prompt."""

    next: tuple[LikelyToken, ...]  # likeliest first
    entropy: float  # of the whole distribution, in nats


@dataclass(frozen=True, slots=True)
class WordScore:
    """The score of a word of the text, whatever the model's tokens are, or of the end after it.

    Tokens of separators alone count for the word that follows, or for the last one.
    """

    text: str
    log_prob: float  # the sum over its tokens
    oov: bool  # one of them is out of vocabulary
    begin_byte: int  # in UTF-8 bytes of the given text
    end_byte: int  # exclusive
    token_count: int

    @property
    def surprisal(self) -> float:
        """Negative log-probability, in nats; +inf if impossible."""
        return 0.0 - self.log_prob  # never -0.0


@dataclass(frozen=True, slots=True)
class TextScore:
    """The score of one text."""

    log_prob: float  # sum over all events; -inf if one is impossible
    log_prob_excluding_oov: float  # sum over the events that are in the vocabulary
    perplexity: float  # exp(-log_prob / token_count); 1 if there are no events
    perplexity_excluding_oov: float
    token_count: int  # events, `</s>` included
    oov_count: int  # events out of vocabulary
    tokens: tuple[TokenScore, ...]  # empty unless they were asked for
    words: tuple[WordScore, ...] = ()  # empty unless they were asked for


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a text, as the model sees it."""

    text: str
    id: int  # in the model's vocabulary; NO_TOKEN_ID for an unknown token where it has none
    begin_byte: int  # in UTF-8 bytes of the given text
    end_byte: int  # exclusive
    oov: bool


@dataclass(frozen=True, slots=True)
class Ranking:
    """A list under one weight setting."""

    order: tuple[int, ...]  # indices of the hypotheses, best first; ties in the list's order
    totals: tuple[float, ...]  # in the list's order

    @property
    def best(self) -> int:
        """Index of the winner."""
        return self.order[0]


@dataclass(frozen=True, slots=True)
class RescoredList:
    """What the model says of a list's hypotheses, in the list's order, and their rankings."""

    id: str
    log_probs: tuple[float, ...]
    token_counts: tuple[int, ...]
    oov_counts: tuple[int, ...]
    rankings: tuple[Ranking, ...]  # one per weight setting


@dataclass(frozen=True, slots=True)
class ScoringContract:
    """What has to be known to compare scores with another program's."""

    bos_token: str
    eos_token: str
    unknown_token: str
    has_unknown: bool  # False: unknown_log_prob is a floor set by the loader
    unknown_log_prob: float  # of the unknown token as a unigram


@dataclass(frozen=True, slots=True)
class NgramInfo:
    """What an n-gram model is made of."""

    order: int  # tokens of its longest n-grams
    counts: tuple[int, ...]  # number of n-grams of each length, from 1


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """What a network is made of, and where it computes."""

    embedding_size: int
    hidden_sizes: tuple[int, ...]  # units of each hidden layer, from the first
    projection_size: int | None  # of the linear layer before the output layer, if there is one
    tied: bool  # the output layer's weights are those of the embedding
    context_size: int | None  # tokens that a feed-forward network looks back; others remember all
    device: str  # for example "cpu" or "cuda:0"
    dtype: str  # of the numbers it computes with, for example "float32"


@dataclass(frozen=True, slots=True)
class DetectionThresholds:
    """What a model was calibrated to: thresholds that few words of ordinary text exceed."""

    quantile: float  # share of the words that do not exceed them
    surprisal: float  # in nats
    misfit: float  # in nats


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A version of a model. Unless it is ready, only identity, state, labels and problem are known.

    ``kind``, ``state`` and ``tokenizer`` are lower-case names as the contract has them, for
    example "ngram", "ready" and "words"; "unspecified" is what this client does not know.
    """

    identity: ModelIdentity
    kind: str
    state: str
    tokenizer: str
    vocabulary_size: int
    parameter_count: int
    memory_bytes: int
    scoring_contract: ScoringContract
    ngram: NgramInfo | None = None
    network: NetworkInfo | None = None
    labels: tuple[str, ...] = ()  # that name this version
    problem: str = ""  # what is wrong with it, for people
    load_seconds: float = 0.0
    loaded_at: int | None = None  # seconds since 1970; absent unless it answers
    detection_thresholds: DetectionThresholds | None = None  # if it was calibrated

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self.state == "ready"
