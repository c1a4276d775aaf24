"""The interface of the `kenlm` package, for an n-gram model of a server.

>>> import lmscore.client.kenlm as kenlm
>>> model = kenlm.Model("127.0.0.1:50051", "news")  # doctest: +SKIP
>>> model.score("the first sentence")  # doctest: +SKIP

Unlike in the rest of the client, log-probabilities are to base 10, in single precision: names,
units and results are those of the other package. docs/clients/kenlm.md says what differs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from grpc import StatusCode

from lmscore.client.batching import batches, text_batcher
from lmscore.client.client import Client
from lmscore.client.errors import LmscoreError, ModelNotReadyError
from lmscore.client.recent import Recent
from lmscore.client.results import ModelInfo, TextScore, TokenScore
from lmscore.client.status import invalid_argument

BOS, UNKNOWN = "<s>", "<unk>"
SEPARATORS = frozenset("\0\t\n\r ")
"""What the server splits texts at. No word holds one, so a word with one is unknown."""

_SINGLE = struct.Struct("f")
_REQUEST_TEXTS = 1024  # within a server's default limits


@dataclass(slots=True, order=True, unsafe_hash=True)
class State:
    """The words that what follows depends on: the last ones that the model knows together.

    A new one is the state of no context. ``out_state`` arguments are overwritten.
    """

    words: tuple[str, ...] = ()  # at most order - 1; "<s>" only as the first


@dataclass(frozen=True, slots=True)
class FullScoreReturn:
    """The score of one word."""

    log_prob: float  # to base 10
    ngram_length: int  # of the longest n-gram that was found
    oov: bool

    def __repr__(self) -> str:
        return f"FullScoreReturn({self.log_prob!r}, {self.ngram_length!r}, {self.oov!r})"


class Model:
    """An n-gram model of a server, as `kenlm.Model` is one of a file.

    ``server`` is an address, or a Client, which stays open when this is closed; ``model`` is the
    Client's if it is not given. It is one version of the model throughout: the highest loaded one
    if none is given. Words that were scored after the same context are remembered, up to
    ``remembered`` of them. Every method raises what the Client's raise.
    """

    def __init__(
        self,
        server: str | Client,
        model: str = "",
        *,
        version: int | None = None,
        remembered: int = 2**16,
    ) -> None:
        self._own = not isinstance(server, Client)
        self._client = server if isinstance(server, Client) else Client(server)
        name = model or self._client.model
        try:
            info = self._client.get_model(model=name, version=version)
            order = _order(info)
        except LmscoreError:
            self.close()
            raise
        self.path = f"{self._client.address}/{name}".encode()
        self.order = order
        self._name = name
        self._version = info.identity.version
        self._events = Recent[tuple[State, str], FullScoreReturn](remembered)
        self._known = Recent[str, bool](remembered)

    def __repr__(self) -> str:
        return f"<Model from {self._name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[partial[Model], tuple[str, str]]:
        if not self._own:
            raise TypeError("a Model with a Client cannot be copied: make one from the address")
        return partial(Model, version=self._version), (self._client.address, self._name)

    def close(self) -> None:
        """End the connection, unless it is that of a Client."""
        if self._own:
            self._client.close()

    def score(self, sentence: str | bytes, bos: bool = True, eos: bool = True) -> float:
        """log10 p(sentence </s> | <s>); without ``bos`` or ``eos``, less what they stand for."""
        (total,) = self.scores([sentence], bos, eos)
        return total

    def scores(
        self, sentences: Iterable[str | bytes], bos: bool = True, eos: bool = True
    ) -> Iterator[float]:
        """The same for any number of sentences, in few requests."""
        texts = map(_joined_words, sentences)
        for scored in self._scored(texts, bos=bos, eos=eos):
            total = 0.0
            for token in scored.tokens:
                total = _single(total + _log10(token))
            yield total

    def perplexity(self, sentence: str | bytes) -> float:
        """10 ** (-score / number of words, `</s>` included)."""
        count = len(_text(sentence).encode().split()) + 1
        return float(10.0 ** (-self.score(sentence) / count))

    def full_scores(
        self, sentence: str | bytes, bos: bool = True, eos: bool = True
    ) -> Iterator[tuple[float, int, bool]]:
        """log10 probability, n-gram length and whether it is unknown, of each word."""
        for scored in self._scored([_joined_words(sentence)], bos=bos, eos=eos):
            for token in scored.tokens:
                yield _log10(token), token.matched_order or 0, token.oov

    def BeginSentenceWrite(self, state: State) -> None:  # noqa: N802 (as in the other package)
        """Make the state that of the beginning of a sentence."""
        state.words = (BOS,)[: self.order - 1]

    def NullContextWrite(self, state: State) -> None:  # noqa: N802
        """Make the state that of no context."""
        state.words = ()

    def BaseScore(self, in_state: State, word: str, out_state: State) -> float:  # noqa: N802
        """log10 p(word | in_state); the state after the word goes to ``out_state``."""
        return self.BaseFullScore(in_state, word, out_state).log_prob

    def BaseFullScore(  # noqa: N802
        self, in_state: State, word: str, out_state: State
    ) -> FullScoreReturn:
        """The same, with the n-gram's length and whether the word is unknown."""
        ((full, after),) = self.base_full_scores([in_state], [word])
        out_state.words = after.words
        return full

    def base_full_scores(
        self, states: Sequence[State], words: Sequence[str]
    ) -> list[tuple[FullScoreReturn, State]]:
        """The score of each word after its state, and the state after it, in few requests."""
        pairs = [
            (State(state.words), _sendable(word)) for state, word in zip(states, words, strict=True)
        ]
        found = {pair: self._events.get(pair) for pair in pairs}
        missing = [pair for pair, event in found.items() if event is None]
        for after_bos in (True, False):
            self._ask([p for p in missing if _follows_bos(p[0]) == after_bos], after_bos, found)
        return [(event, self._after(*pair, event)) for pair in pairs if (event := found[pair])]

    def __contains__(self, word: str | bytes) -> bool:
        return self.known([word]) != []

    def known(self, words: Iterable[str | bytes]) -> list[str]:
        """Those of the words that are in the vocabulary, in few requests."""
        asked = [_text(word) for word in words]
        keys = {word: _sendable(word) for word in asked}
        found = {key: self._known.get(key) for key in keys.values()}
        missing = [key for key, known in found.items() if known is None]
        for key, scored in zip(missing, self._scored(missing, bos=False, eos=False), strict=True):
            found[key] = not scored.tokens[0].oov
            self._known.put(key, not scored.tokens[0].oov)
        return [word for word in asked if word == BOS or found[keys[word]]]

    def _ask(
        self,
        pairs: Sequence[tuple[State, str]],
        bos: bool,
        found: dict[tuple[State, str], FullScoreReturn | None],
    ) -> None:
        """Score words after their states, which all follow `<s>` or none does."""
        texts = (" ".join((*state.words[bos:], word)) for state, word in pairs)
        for pair, scored in zip(pairs, self._scored(texts, bos=bos, eos=False), strict=True):
            last = scored.tokens[-1]
            event = FullScoreReturn(_log10(last), last.matched_order or 0, last.oov)
            found[pair] = event
            self._events.put(pair, event)
            self._known.put(pair[1], not event.oov)

    def _after(self, state: State, word: str, event: FullScoreReturn) -> State:
        # No n-gram begins with more than was found, so nothing that follows depends on more.
        length = min(event.ngram_length, self.order - 1)
        words = (*state.words, UNKNOWN if event.oov else word)
        return State(words[len(words) - length :])

    def _scored(self, texts: Iterable[str], *, bos: bool, eos: bool) -> Iterator[TextScore]:
        for batch in batches(texts, text_batcher(_REQUEST_TEXTS)):
            yield from self._client.score(
                batch, model=self._name, version=self._version, bos=bos, eos=eos, tokens=True
            )


LanguageModel = Model
"""The name that `kenlm` had for it in the past."""


def _order(info: ModelInfo) -> int:
    if not info.ready:
        message = f"model {info.identity.name!r} is still loading"
        raise ModelNotReadyError(
            message, code=StatusCode.FAILED_PRECONDITION, reason="MODEL_LOADING"
        )
    if info.ngram is None:
        problem = f"{info.identity.name!r} is no n-gram model, but {info.kind}; use the Client"
        raise invalid_argument("model", problem)
    return info.ngram.order


def _single(number: float) -> float:
    """The nearest number of single precision."""
    (single,) = _SINGLE.unpack(_SINGLE.pack(number))
    return float(single)


def _log10(token: TokenScore) -> float:
    return _single(token.log_prob / math.log(10))


def _text(sentence: str | bytes) -> str:
    if isinstance(sentence, bytes):
        return sentence.decode()
    if not isinstance(sentence, str):
        raise TypeError(f"Cannot convert {type(sentence)} to string")
    return sentence


def _joined_words(sentence: str | bytes) -> str:
    words = _text(sentence).encode().split()  # bytes split at ASCII's separators alone
    return " ".join(_sendable(word.decode()) for word in words)


def _sendable(word: str) -> str:
    """The word, or what stands for it if a text cannot hold it as one word."""
    unsendable = not word or word == BOS or not SEPARATORS.isdisjoint(word)
    return UNKNOWN if unsendable else word


def _follows_bos(state: State) -> bool:
    return state.words[:1] == (BOS,)
