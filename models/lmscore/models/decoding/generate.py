"""Text from prompts in one call, on the stepper that a server would use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from lmscore.models.decoding.batch import DecodingBatch, StepResult
from lmscore.models.decoding.beam import Hypothesis
from lmscore.models.decoding.parameters import Decoding
from lmscore.models.decoding.random_numbers import draw_seed
from lmscore.models.decoding.rows import FinishReason, NewSequence
from lmscore.models.decoding.selection import NO_TOKEN
from lmscore.models.decoding.stopping import StopStrings, TextStream
from lmscore.models.decoding.text import DecoderFactory, TextDecoder, WordDecoder
from lmscore.models.language_model import LanguageModel, Texts


@dataclass(frozen=True, slots=True)
class Place:
    """Which text is meant: of which prompt, and which of its sequences or beam results."""

    prompt: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Token:
    """A token was generated; text is what is certain since the last one, often empty."""

    place: Place
    token_id: int
    log_prob: float  # the model's own, in nats
    text: str
    alternatives: tuple[tuple[int, float], ...] = ()  # ids and log-probabilities, likeliest first


@dataclass(frozen=True, slots=True)
class Finished:
    """A text has ended; text is what was held back. Its tokens count, also one that ended it."""

    place: Place
    reason: FinishReason
    text: str
    log_prob: float  # sum of its tokens'
    token_count: int
    seed: int
    score: float | None = None  # of a beam search


Event: TypeAlias = Token | Finished


def generate(
    model: LanguageModel[Any],
    prompts: Sequence[str],
    settings: Decoding,
    decoder: DecoderFactory | None = None,
) -> Iterator[Event]:
    """Continue prompts; events of a text are in order, those of several texts interleaved.

    Texts of beam searches come whole, best first. The decoder is that of words unless given.
    Raises ParameterError for a token id that is not in the vocabulary.
    """
    settings.check_token_ids(len(model.vocabulary))
    return _Run(model, prompts, settings, decoder).events()


class TextWriter:
    """The text of one sequence as its tokens come: bytes, stop strings, characters."""

    def __init__(self, decoder: TextDecoder, stops: StopStrings, settings: Decoding) -> None:
        self._decoder = decoder
        self._stream = TextStream(stops)
        self._silent = frozenset(settings.stop_token_ids)
        self._min_tokens = settings.min_tokens
        self._count = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return self._stream.stopped

    def push(self, token_id: int) -> str:
        """The text that a token makes certain. Tokens up to the least length complete no stop."""
        self._count += 1
        data = b"" if token_id in self._silent else self._decoder.push(token_id)
        return self._push(data)

    def finish(self) -> str:
        """The rest, where no stop string has come."""
        return self._push(self._decoder.finish()) + self._stream.finish()

    def _push(self, data: bytes) -> str:
        return self._stream.push(data, may_stop=self._count > self._min_tokens)


class _Run:
    """One call of generate."""

    def __init__(
        self,
        model: LanguageModel[Any],
        prompts: Sequence[str],
        settings: Decoding,
        decoder: DecoderFactory | None,
    ) -> None:
        self._settings = settings
        self._seed = draw_seed() if settings.seed is None else settings.seed
        self._prompts = [prompt.encode() for prompt in prompts]
        self._decoder = decoder or (lambda prompt: WordDecoder(model.vocabulary, prompt))
        self._stops = StopStrings(settings.stop_strings)
        self._batch = DecodingBatch(model)
        self._texts: dict[int, _Text] = {}
        self._begin(model, Texts.from_strings(list(prompts)))

    def _begin(self, model: LanguageModel[Any], prompts: Texts) -> None:
        tokens = model.tokenize(prompts)
        places = [
            Place(prompt, sequence)
            for prompt in range(len(prompts))
            for sequence in range(self._settings.num_sequences)
        ]
        new = [
            NewSequence(
                self._settings,
                self._seed,
                # Equal prompts are to have texts of their own.
                place.prompt * self._settings.num_sequences + place.sequence,
                tokens.token_ids[slice(*tokens.offsets[place.prompt : place.prompt + 2])],
                self._ends_text(place.prompt) if self._settings.stop_strings else None,
            )
            for place in places
        ]
        states = model.gather(
            model.read(prompts), np.array([place.prompt for place in places], np.int64)
        )
        for sequence_id, place in zip(self._batch.add(states, new).tolist(), places, strict=True):
            self._texts[sequence_id] = _Text(place, self._writer(place.prompt))

    def events(self) -> Iterator[Event]:
        """All events until every text has ended."""
        while len(self._batch):
            result = self._batch.step()
            yield from self._token_events(result)
            for sequence_id, hypotheses in result.beams.items():
                place = self._texts.pop(sequence_id).place
                for i, hypothesis in enumerate(hypotheses):
                    yield from self._hypothesis_events(Place(place.prompt, i), hypothesis)

    def _token_events(self, result: StepResult) -> Iterator[Event]:
        for row, sequence_id in enumerate(result.sequence_ids.tolist()):
            text = self._texts[sequence_id]
            reason = FinishReason(int(result.reasons[row]))
            token_id, log_prob = int(result.token_ids[row]), float(result.log_probs[row])
            if reason != FinishReason.DEAD_END:
                piece = text.push(token_id, log_prob)
                yield Token(text.place, token_id, log_prob, piece, _alternatives(result, row))
            if text.writer.stopped and reason in {FinishReason.RUNNING, FinishReason.LENGTH}:
                self._batch.remove([sequence_id])
                reason = FinishReason.STOP
            if reason != FinishReason.RUNNING:
                del self._texts[sequence_id]
                yield text.finished(reason, self._seed)

    def _hypothesis_events(self, place: Place, hypothesis: Hypothesis) -> Iterator[Event]:
        text = _Text(place, self._writer(place.prompt))
        for token_id, log_prob in zip(hypothesis.token_ids, hypothesis.log_probs, strict=True):
            yield Token(place, token_id, log_prob, text.push(token_id, log_prob))
        yield text.finished(hypothesis.reason, self._seed, hypothesis.score)

    def _writer(self, prompt: int) -> TextWriter:
        decoder = self._decoder(self._prompts[prompt])
        return TextWriter(decoder, self._stops, self._settings)

    def _ends_text(self, prompt: int) -> Any:
        def ends(token_ids: list[int]) -> bool:
            writer = self._writer(prompt)
            for token_id in token_ids:
                writer.push(token_id)
            return writer.stopped

        return ends


@dataclass(slots=True)
class _Text:
    """A text under way."""

    place: Place
    writer: TextWriter
    log_prob: float = 0.0
    token_count: int = 0

    def push(self, token_id: int, log_prob: float) -> str:
        """Count a token; returns the text that it makes certain."""
        self.log_prob += log_prob
        self.token_count += 1
        return self.writer.push(token_id)

    def finished(self, reason: FinishReason, seed: int, score: float | None = None) -> Finished:
        rest = self.writer.finish()
        return Finished(self.place, reason, rest, self.log_prob, self.token_count, seed, score)


def _alternatives(result: StepResult, row: int) -> tuple[tuple[int, float], ...]:
    if result.alternatives is None:
        return ()
    ids = result.alternatives.token_ids[row].tolist()
    log_probs = result.alternatives.log_probs[row].tolist()
    return tuple(pair for pair in zip(ids, log_probs, strict=True) if pair[0] != NO_TOKEN)
