"""Generate: a request to a prompt and settings, events of texts to messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lmscore.models.decoding.parameters import Beam, Decoding, Greedy, Sampling, Strategy
from lmscore.models.decoding.random_numbers import draw_seed
from lmscore.models.decoding.rows import FinishReason
from lmscore.models.decoding.text_batch import Event, Finished, Token
from lmscore.models.errors import ParameterError
from lmscore.models.vocabulary import Vocabulary
from lmscore.server.convert.items import (
    BYTES_OF_TOKEN,
    Limits,
    check_alternatives,
    check_size,
    identity,
    token_texts,
)
from lmscore.server.errors import InvalidFieldError
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire

DEFAULT_MAX_TOKENS = 128
MESSAGE_BYTES = 1 << 16
"""About so much is in one message of a stream at most."""

_BYTES_OF_EVENT = 100

_REASONS = {
    FinishReason.STOP: wire.FINISH_REASON_STOP,
    FinishReason.LENGTH: wire.FINISH_REASON_LENGTH,
    FinishReason.END_OF_TEXT: wire.FINISH_REASON_END_OF_TEXT,
    FinishReason.DEAD_END: wire.FINISH_REASON_DEAD_END,
}


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """What a request for text may ask for."""

    max_num_sequences: int
    max_beam_width: int
    max_tokens: int
    max_stop_bytes: int
    max_listed_tokens: int


@dataclass(frozen=True, slots=True)
class GenerateWork:
    """A prompt, how to continue it, and how many tokens fit into a message."""

    prompt: str
    bos: bool
    settings: Decoding
    seed: int
    message_tokens: int


def generate_work(
    request: wire.GenerateRequest, limits: Limits, own: GenerationLimits, vocabulary: Vocabulary
) -> GenerateWork:
    """Check a request; InvalidFieldError for a field that is out of its range or over a limit."""
    check_size("prompt", request.prompt, limits)
    _check_limits(request, own)
    alternatives = request.alternatives
    if alternatives:
        alternatives = check_alternatives("alternatives", alternatives, limits)
    seed = request.seed if request.HasField("seed") else draw_seed()
    settings = _settings(request, own, min(alternatives, len(vocabulary)), seed)
    try:
        settings.check_token_ids(len(vocabulary))
    except ParameterError as error:
        raise InvalidFieldError(error.field, error.problem) from None
    size = _BYTES_OF_EVENT + alternatives * BYTES_OF_TOKEN
    bos = request.bos if request.HasField("bos") else True
    return GenerateWork(request.prompt, bos, settings, seed, max(1, MESSAGE_BYTES // size))


def _check_limits(request: wire.GenerateRequest, limits: GenerationLimits) -> None:
    numbers = [
        ("num_sequences", request.num_sequences, limits.max_num_sequences),
        ("beam.width", request.beam.width, limits.max_beam_width),
        ("max_tokens", request.max_tokens, limits.max_tokens),
    ]
    for field, number, limit in numbers:
        if number > limit:
            raise InvalidFieldError(field, f"{number} is over the limit of {limit}")
    size = sum(len(string.encode()) for string in request.stop_strings)
    if size > limits.max_stop_bytes:
        problem = f"{size} bytes in all are over the limit of {limits.max_stop_bytes}"
        raise InvalidFieldError("stop_strings", problem)
    for field in ("stop_token_ids", "banned_token_ids"):
        listed = len(getattr(request, field))
        if listed > limits.max_listed_tokens:
            problem = f"{listed} are over the limit of {limits.max_listed_tokens}"
            raise InvalidFieldError(field, problem)


def _settings(
    request: wire.GenerateRequest, limits: GenerationLimits, alternatives: int, seed: int
) -> Decoding:
    strategy = _strategy(request)
    max_tokens = min(DEFAULT_MAX_TOKENS, limits.max_tokens)
    try:
        return Decoding(
            strategy,
            max_tokens=request.max_tokens if request.HasField("max_tokens") else max_tokens,
            min_tokens=request.min_tokens,
            repetition_penalty=_or(request, "repetition_penalty", 1.0),
            banned_token_ids=tuple(request.banned_token_ids),
            allow_unknown=request.allow_unknown,
            stop_strings=tuple(string.encode() for string in request.stop_strings),
            stop_token_ids=tuple(request.stop_token_ids),
            seed=seed,
            num_sequences=request.num_sequences if request.HasField("num_sequences") else 1,
            alternatives=alternatives,
        )
    except ParameterError as error:
        raise InvalidFieldError(error.field, error.problem) from None


def _strategy(request: wire.GenerateRequest) -> Strategy:
    chosen = request.WhichOneof("strategy")
    try:
        match chosen:
            case "sampling":
                sampling = request.sampling
                return Sampling(
                    _or(sampling, "temperature", 1.0),
                    sampling.top_k or None,
                    _or(sampling, "top_p", 1.0),
                    sampling.min_p,
                )
            case "beam":
                beam = request.beam
                results = beam.num_results if beam.HasField("num_results") else 1
                return Beam(beam.width, beam.length_penalty, results)
            case _:
                return Greedy()
    except ParameterError as error:
        raise InvalidFieldError(f"{chosen}.{error.field}", error.problem) from None


def _or(message: wire.GenerateRequest | wire.Sampling, field: str, default: float) -> float:
    """A number of a message, or the default where it is absent."""
    return float(getattr(message, field)) if message.HasField(field) else default  # type: ignore[arg-type]


def started(
    model: ServedModel, seed: int, token_count: int, oov_count: int
) -> wire.GenerationStarted:
    """What the first message says besides."""
    return wire.GenerationStarted(
        model=identity(model),
        seed=seed,
        prompt_token_count=token_count,
        prompt_oov_count=oov_count,
    )


def generate_response(events: Iterable[Event], vocabulary: Vocabulary) -> wire.GenerateResponse:
    """What has happened, as a message."""
    tokens = [event for event in events if isinstance(event, Token)]
    names = token_texts([event.token_id for event in tokens], vocabulary)
    return wire.GenerateResponse(
        tokens=[_token(event, name, vocabulary) for event, name in zip(tokens, names, strict=True)],
        finished=[_finished(event) for event in events if isinstance(event, Finished)],
    )


def _token(event: Token, name: str, vocabulary: Vocabulary) -> wire.GeneratedToken:
    message = wire.GeneratedToken(
        sequence=event.place.sequence,
        text=event.text,
        token_id=event.token_id,
        token=name,
        log_prob=event.log_prob,
    )
    if event.alternatives:
        ids = [token_id for token_id, _ in event.alternatives]
        message.alternatives.tokens.extend(token_texts(ids, vocabulary))
        message.alternatives.token_ids.extend(ids)
        message.alternatives.log_probs.extend(log_prob for _, log_prob in event.alternatives)
    return message


def _finished(event: Finished) -> wire.GenerationFinished:
    return wire.GenerationFinished(
        sequence=event.place.sequence,
        text=event.text,
        reason=_REASONS[event.reason],
        log_prob=event.log_prob,
        token_count=event.token_count,
        score=event.score,
    )
