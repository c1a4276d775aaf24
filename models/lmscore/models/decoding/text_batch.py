"""Prompts that are continued together: a batch's steps as events of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmscore.models.decoding.batch import DecodingBatch, StepResult, Suspended
from lmscore.models.decoding.beam import Hypothesis
from lmscore.models.decoding.parameters import Decoding
from lmscore.models.decoding.rows import FinishReason, NewSequence
from lmscore.models.decoding.selection import NO_TOKEN
from lmscore.models.decoding.stopping import StopStrings
from lmscore.models.decoding.text_writer import TextWriter
from lmscore.models.language_model import LanguageModel, State
from lmscore.models.text_decoder import TextDecoder

DecoderFactory: TypeAlias = Callable[[bytes], TextDecoder]
"""Makes the decoder of a text that continues a prompt."""

_TAIL_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Which text is meant: of which prompt, and which of its sequences or beam results."""

    prompt: int
    sequence: int


@dataclass(slots=True)
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


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is to be continued; its texts' random numbers are those of (seed, first_index …)."""

    number: int  # the caller's, of none other in the batch
    text: bytes
    token_ids: NDArray[np.int64]
    settings: Decoding
    seed: int
    first_index: int = 0


class TextBatch(Generic[State]):
    """A DecodingBatch of prompts, each with all of its texts."""

    def __init__(self, model: LanguageModel[State], decoder: DecoderFactory | None = None) -> None:
        """The decoder is the model's unless given."""
        self._model = model
        self._decoder = decoder or model.text_decoder
        self._batch = DecodingBatch(model)
        self._texts: dict[int, _Text] = {}  # by sequence id
        self._prompts: dict[int, list[int]] = {}  # ids of the open sequences of each, by number

    def __len__(self) -> int:
        """Rows that the next step computes."""
        return len(self._batch)

    @property
    def sequences(self) -> int:
        """Texts that the next step goes on with; a beam search counts as one."""
        return len(self._batch.sequence_ids)

    def join(self, states: State, prompts: Sequence[Prompt]) -> None:
        """Let prompts join, each from the state after it: (prompts,).

        Raises ParameterError for a token id that is not in the vocabulary; then none has joined.
        """
        counts = [prompt.settings.num_sequences for prompt in prompts]
        rows = np.repeat(np.arange(len(prompts)), counts)
        texts = [
            _Text(writer, prompt, i)
            for prompt, writer in zip(prompts, map(self._writer_of, prompts), strict=True)
            for i in range(prompt.settings.num_sequences)
        ]
        ids = self._batch.add(
            self._model.gather(states, rows), [text.new_sequence() for text in texts]
        )
        for sequence_id, text in zip(ids.tolist(), texts, strict=True):
            self._texts[sequence_id] = text
            self._prompts.setdefault(text.prompt.number, []).append(sequence_id)

    def leave(self, numbers: Iterable[int]) -> None:
        """Drop prompts, suspended ones too; those that have ended are ignored."""
        ids = [i for number in numbers for i in self._prompts.pop(number, [])]
        for sequence_id in ids:
            del self._texts[sequence_id]
        self._batch.remove(ids)

    def suspend(self, numbers: Iterable[int]) -> Suspended[State]:
        """Take prompts out of the batch, to let them join again later."""
        return self._batch.suspend([i for number in numbers for i in self._prompts[number]])

    def resume(self, suspended: Suspended[State]) -> None:
        """Let prompts that were taken out join again."""
        self._batch.resume(suspended)

    def has(self, number: int) -> bool:
        """Whether a prompt has texts that have not ended."""
        return number in self._prompts

    def numbers(self) -> list[int]:
        """Prompts that the next step goes on with."""
        ids = self._batch.sequence_ids
        return list(dict.fromkeys(self._texts[i].prompt.number for i in ids))

    def step(self) -> StepResult:
        """Give every text one more token. If the model raises, every text is as it was."""
        return self._batch.step()

    def events(self, result: StepResult) -> list[Event]:
        """What a step means for the texts; those of beam searches come whole, best first."""
        events: list[Event] = []
        stopped: list[int] = []
        self._take_tokens(result, events, stopped)
        if stopped:
            self._batch.remove(stopped)
        for sequence_id, hypotheses in result.beams.items():
            text = self._texts[sequence_id]
            self._end(sequence_id)
            for i, hypothesis in enumerate(hypotheses):
                events.extend(text.of_hypothesis(i, hypothesis))
        return events

    def _writer_of(self, prompt: Prompt) -> Callable[[], TextWriter]:
        """Makes the writer of a text of a prompt."""
        stops, before = StopStrings(prompt.settings.stop_strings), _tail(prompt.text)
        return lambda: TextWriter(self._decoder(before), stops, prompt.settings)

    def _take_tokens(self, result: StepResult, events: list[Event], stopped: list[int]) -> None:
        alternatives = _alternatives(result)
        columns = (result.sequence_ids, result.token_ids, result.log_probs, result.reasons)
        for sequence_id, token_id, log_prob, chosen, likely in zip(
            *(column.tolist() for column in columns), alternatives, strict=True
        ):
            reason = FinishReason(chosen)
            text = self._texts[sequence_id]
            if reason != FinishReason.DEAD_END:
                events.append(text.push(token_id, log_prob, likely))
            if text.writer.stopped and reason in {FinishReason.RUNNING, FinishReason.LENGTH}:
                stopped.append(sequence_id)
                reason = FinishReason.STOP
            if reason != FinishReason.RUNNING:
                self._end(sequence_id)
                events.append(text.finished(reason))

    def _end(self, sequence_id: int) -> None:
        number = self._texts.pop(sequence_id).prompt.number
        open_ids = self._prompts[number]
        open_ids.remove(sequence_id)
        if not open_ids:
            del self._prompts[number]


class _Text:
    """A text under way."""

    def __init__(self, new_writer: Callable[[], TextWriter], prompt: Prompt, sequence: int) -> None:
        self._new_writer = new_writer
        self.prompt = prompt
        self.place = Place(prompt.number, sequence)
        self.writer = new_writer()
        self._log_prob = 0.0
        self._token_count = 0

    def new_sequence(self) -> NewSequence:
        """What a batch is to generate."""
        prompt = self.prompt
        return NewSequence(
            prompt.settings,
            prompt.seed,
            prompt.first_index + self.place.sequence,
            prompt.token_ids,
            self._ends_text if prompt.settings.stop_strings else None,
        )

    def push(
        self, token_id: int, log_prob: float, alternatives: tuple[tuple[int, float], ...] = ()
    ) -> Token:
        """One more token, with the text that it makes certain."""
        self._log_prob += log_prob
        self._token_count += 1
        return Token(self.place, token_id, log_prob, self.writer.push(token_id), alternatives)

    def finished(self, reason: FinishReason, score: float | None = None) -> Finished:
        """The end, with the rest of the text."""
        rest, seed = self.writer.finish(), self.prompt.seed
        return Finished(self.place, reason, rest, self._log_prob, self._token_count, seed, score)

    def of_hypothesis(self, rank: int, hypothesis: Hypothesis) -> Iterator[Event]:
        """The events of a result of a beam search."""
        text = _Text(self._new_writer, self.prompt, rank)
        for token_id, log_prob in zip(hypothesis.token_ids, hypothesis.log_probs, strict=True):
            yield text.push(token_id, log_prob)
        yield text.finished(hypothesis.reason, hypothesis.score)

    def _ends_text(self, token_ids: list[int]) -> bool:
        writer = self._new_writer()
        for token_id in token_ids:
            writer.push(token_id)
        return writer.stopped


def _tail(text: bytes) -> bytes:
    """The last characters of a prompt, which are all that a decoder looks at."""
    return text[-_TAIL_BYTES:].decode(errors="ignore").encode()


def _alternatives(result: StepResult) -> list[tuple[tuple[int, float], ...]]:
    """Those of each sequence, likeliest first."""
    if result.alternatives is None:
        return [()] * len(result.sequence_ids)
    rows = zip(
        result.alternatives.token_ids.tolist(), result.alternatives.log_probs.tolist(), strict=True
    )
    return [
        tuple(pair for pair in zip(ids, log_probs, strict=True) if pair[0] != NO_TOKEN)
        for ids, log_probs in rows
    ]
