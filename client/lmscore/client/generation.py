"""What a server tells while it continues a prompt. Log-probabilities are in nats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from lmscore.client.results import Answer, LikelyToken, ModelIdentity
from lmscore.client.status import stream_ended_early


@dataclass(frozen=True, slots=True)
class GenerationStarted:
    """The prompt was read: always the first event, and the only one of its kind."""

    model: ModelIdentity
    seed: int  # gives the same texts again, whether it was asked for or drawn
    prompt_token_count: int
    prompt_oov_count: int  # of them, how many are out of vocabulary


@dataclass(frozen=True, slots=True)
class GeneratedToken:
    """One token of one text."""

    sequence: int  # which text, from 0; for beams its rank
    text: str  # what became certain of the text; these, joined up to the end, are the text
    token: str  # as the vocabulary writes it
    token_id: int
    log_prob: float  # that the model gives it, before temperature and the like
    alternatives: tuple[LikelyToken, ...] = ()  # the likeliest in its place, if asked for


@dataclass(frozen=True, slots=True)
class GenerationFinished:
    """The end of one text."""

    sequence: int
    text: str  # the rest of the text, which was held back
    reason: str  # "stop", "length", "end_of_text", "dead_end"; "unspecified" for newer ones
    log_prob: float  # the sum over its tokens
    token_count: int  # the one that ended it included
    score: float | None = None  # what beams are ranked by


GenerationEvent: TypeAlias = GenerationStarted | GeneratedToken | GenerationFinished


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """A whole text, without its prompt."""

    text: str
    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]  # one a token
    log_prob: float  # their sum
    reason: str  # why it ended, as GenerationFinished has it
    seed: int  # of the call: gives the same texts again
    score: float | None = None  # what beams are ranked by


class Unfinished:
    """Tells a stream that has told everything from one that ended early."""

    def __init__(self) -> None:
        self.started = False
        self._texts: set[int] = set()

    def see(self, event: GenerationEvent) -> GenerationEvent:
        """Take note of an event, and give it back."""
        match event:
            case GenerationStarted():
                self.started = True
            case GeneratedToken():
                self._texts.add(event.sequence)
            case GenerationFinished():
                self._texts.discard(event.sequence)
        return event

    def refuse(self) -> None:
        """Raise ServerError if something is still to come."""
        if self._texts or not self.started:
            raise stream_ended_early()


def whole_texts(events: Iterable[GenerationEvent]) -> Answer[GeneratedText]:
    """The texts that the events of one call tell, in order."""
    tokens: dict[int, list[GeneratedToken]] = {}
    texts: dict[int, GeneratedText] = {}
    started: GenerationStarted | None = None
    for event in events:
        if isinstance(event, GenerationStarted):
            started = event
        elif isinstance(event, GeneratedToken):
            tokens.setdefault(event.sequence, []).append(event)
        elif started is not None:
            texts[event.sequence] = _text(started, tokens.pop(event.sequence, []), event)
    if started is None:
        raise stream_ended_early()
    return Answer(started.model, tuple(texts[sequence] for sequence in sorted(texts)))


def _text(
    started: GenerationStarted, tokens: list[GeneratedToken], end: GenerationFinished
) -> GeneratedText:
    return GeneratedText(
        "".join(token.text for token in tokens) + end.text,
        tuple(token.token_id for token in tokens),
        tuple(token.log_prob for token in tokens),
        end.log_prob,
        end.reason,
        started.seed,
        end.score,
    )
