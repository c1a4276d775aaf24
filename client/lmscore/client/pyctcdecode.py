"""A language model of a server for pyctcdecode's beam search, and a decoder that asks in batches.

>>> from lmscore.client.kenlm import Model
>>> from lmscore.client.pyctcdecode import LanguageModel, build_decoder
>>> model = LanguageModel(Model("127.0.0.1:50051", "news"), unigrams)  # doctest: +SKIP
>>> decoder = build_decoder(labels, model)  # doctest: +SKIP
>>> decoder.decode(logits)  # doctest: +SKIP

pyctcdecode itself is imported when a decoder is built. ``LanguageModel`` has the interface of its
AbstractLanguageModel and the scores of its LanguageModel; a BeamSearchDecoderCTC takes it too.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from importlib import import_module
from typing import Any

from lmscore.client.kenlm import Model, State

LN10 = 1.0 / math.log10(math.e)  # to the last bit what pyctcdecode multiplies with
_USUAL_LENGTH = 6  # characters of a word; partial words beyond it are less and less likely

_Beam = tuple[Any, ...]  # text, next word, and more that is not needed here


class LanguageModel:
    """What pyctcdecode's LanguageModel is around a kenlm.Model, around one of a server.

    ``unigrams`` are the words to know beside the model, those that it has itself. Scores are
    ``alpha`` times the natural logarithm plus ``beta``, less for words that are not known.
    """

    def __init__(
        self,
        model: Model,
        unigrams: Collection[str] | None = None,
        alpha: float = 0.5,
        beta: float = 1.5,
        unk_score_offset: float = -10.0,
        score_boundary: bool = True,
    ) -> None:
        self._model = model
        self._unigrams = sorted(set(model.known(unigrams or ())))
        self._unigram_set = set(self._unigrams)
        self.alpha = alpha
        self.beta = beta
        self.unk_score_offset = unk_score_offset
        self.score_boundary = score_boundary

    @property
    def order(self) -> int:
        """Words of the model's longest n-grams."""
        return self._model.order

    def get_start_state(self) -> State:
        """The state at the beginning of a sentence, or of no context."""
        state = State()
        if self.score_boundary:
            self._model.BeginSentenceWrite(state)
        return state

    def score_partial_token(self, partial_token: str) -> float:
        """What a part of a word costs: nothing if a known word begins with it."""
        at = bisect_left(self._unigrams, partial_token)
        if at < len(self._unigrams) and self._unigrams[at].startswith(partial_token):
            return 0.0
        length = max(_USUAL_LENGTH, len(partial_token))
        return self.unk_score_offset * length / _USUAL_LENGTH

    def score(
        self, prev_state: State, word: str, is_last_word: bool = False
    ) -> tuple[float, State]:
        """The score of a word after a state, with the sentence's end if it is the last one."""
        after = State()
        score = self._model.BaseScore(prev_state, word, after)
        if (self._unigram_set and word not in self._unigram_set) or word not in self._model:
            score += self.unk_score_offset
        if is_last_word and self.score_boundary:
            score += self._model.BaseScore(after, "</s>", State())
        return self.alpha * score * LN10 + self.beta, after

    def prefetch(self, pairs: Iterable[tuple[State, str]], is_last_word: bool = False) -> None:
        """Ask for words after states in few requests, so that ``score`` has them at hand."""
        pairs = list(pairs)
        scored = self._model.base_full_scores([state for state, _ in pairs], [w for _, w in pairs])
        if is_last_word and self.score_boundary:
            self._model.base_full_scores([after for _, after in scored], ["</s>"] * len(scored))

    def reset_params(self, **params: float) -> None:
        """Change alpha, beta, unk_score_offset or score_boundary; None leaves one as it is."""
        for name, wanted in _PARAMETERS.items():
            value = params.get(name)
            if value is None:
                continue
            if not isinstance(value, wanted):
                raise ValueError(f"{name} must be a {wanted.__name__}. Got {type(value)}.")
            setattr(self, name, value)


_PARAMETERS: dict[str, type] = {
    "alpha": float,
    "beta": float,
    "unk_score_offset": float,
    "score_boundary": bool,
}


class PrefetchingBeams:
    """Before BeamSearchDecoderCTC among a class's bases: a request a frame, not a word.

    Without it, a decoder asks for one word at a time. Its language model is a LanguageModel of
    this module.
    """

    def _get_lm_beams(
        self,
        beams: Sequence[_Beam],
        hotword_scorer: Any,
        cached_lm_scores: dict[tuple[str, bool], tuple[float, float, State]],
        cached_partial_token_scores: dict[str, float],
        is_eos: bool = False,
    ) -> Any:
        wanted = {
            (text, word): (cached_lm_scores[text, False][2], word)
            for text, word, *_ in beams
            if (_merged(text, word), is_eos) not in cached_lm_scores
        }
        decoder: Any = self
        decoder._language_model.prefetch(wanted.values(), is_eos)  # noqa: SLF001 (its subclass)
        rest: Any = super()
        return rest._get_lm_beams(  # noqa: SLF001 (the same method)
            beams, hotword_scorer, cached_lm_scores, cached_partial_token_scores, is_eos
        )


def _merged(text: str, word: str) -> str:
    """A text with one more word, as pyctcdecode writes it in its cache."""
    if not word:
        return text
    return f"{text} {word}" if text else word


def build_decoder(labels: list[str], language_model: LanguageModel) -> Any:
    """A BeamSearchDecoderCTC over the labels of a network's outputs, which asks in batches."""
    pyctcdecode: Any = import_module("pyctcdecode")

    class Decoder(PrefetchingBeams, pyctcdecode.BeamSearchDecoderCTC):  # type: ignore[misc]
        """pyctcdecode's decoder, with a language model that is far away."""

    return Decoder(pyctcdecode.Alphabet.build_alphabet(labels), language_model)
