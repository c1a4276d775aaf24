"""Between plain values and the messages of Generate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmscore.client.convert.answering import enum_name, likely_tokens, model_identity
from lmscore.client.convert.checking import (
    checked_number,
    checked_text,
    checked_texts,
    refuse_unknown,
    selector,
)
from lmscore.client.generation import (
    GeneratedToken,
    GenerationEvent,
    GenerationFinished,
    GenerationStarted,
)
from lmscore.client.requests import Beam, GenerateSettings, Greedy, Sampling, Strategy
from lmscore.v1 import language_model_service_pb2 as wire


def generate_request(
    prompt: str, default_model: str, settings: GenerateSettings
) -> wire.GenerateRequest:
    """A prompt to continue."""
    refuse_unknown(settings, GenerateSettings)
    request = wire.GenerateRequest(
        model=selector(default_model, settings),
        prompt=checked_text(prompt, "prompt"),
        bos=settings.get("bos"),
        num_sequences=checked_number(settings.get("num_sequences"), "num_sequences", 32),
        max_tokens=checked_number(settings.get("max_tokens"), "max_tokens", 32),
        min_tokens=checked_number(settings.get("min_tokens"), "min_tokens", 32),
        stop_strings=checked_texts(settings.get("stop", ()), "stop_strings"),
        stop_token_ids=_ids(settings.get("stop_token_ids", ()), "stop_token_ids"),
        banned_token_ids=_ids(settings.get("banned_token_ids", ()), "banned_token_ids"),
        allow_unknown=settings.get("allow_unknown"),
        seed=checked_number(settings.get("seed"), "seed", 64),
        repetition_penalty=settings.get("repetition_penalty"),
        alternatives=checked_number(settings.get("alternatives"), "alternatives", 32),
    )
    if "strategy" in settings:
        _set_strategy(request, settings["strategy"])
    elif settings.get("seed") is not None or settings.get("num_sequences", 1) > 1:
        request.sampling.SetInParent()  # the likeliest text is one, whatever the seed
    return request


def _ids(ids: Sequence[int], field: str) -> Sequence[int]:
    for i, token_id in enumerate(ids):
        checked_number(token_id, f"{field}[{i}]", 32)
    return ids


def _set_strategy(request: wire.GenerateRequest, strategy: Strategy) -> None:
    match strategy:
        case Greedy():
            request.greedy.SetInParent()
        case Sampling():
            request.sampling.temperature = strategy.temperature
            request.sampling.top_k = _count(strategy.top_k, "sampling.top_k")
            request.sampling.top_p = strategy.top_p
            request.sampling.min_p = strategy.min_p
        case Beam():
            request.beam.width = _count(strategy.width, "beam.width")
            request.beam.length_penalty = strategy.length_penalty
            request.beam.num_results = _count(strategy.num_results, "beam.num_results")
        case _:
            raise TypeError(f"{strategy!r} is none of Greedy(), Sampling(...) and Beam(...)")


def _count(number: int, field: str) -> int:
    checked_number(number, field, 32)
    return number


def events(response: wire.GenerateResponse) -> Iterator[GenerationEvent]:
    """What one message tells, in the order in which it happened."""
    if response.HasField("started"):
        yield _started(response.started)
    yield from map(_token, response.tokens)
    yield from map(_finished, response.finished)


def _started(started: wire.GenerationStarted) -> GenerationStarted:
    return GenerationStarted(
        model_identity(started.model),
        started.seed,
        started.prompt_token_count,
        started.prompt_oov_count,
    )


def _token(token: wire.GeneratedToken) -> GeneratedToken:
    return GeneratedToken(
        token.sequence,
        token.text,
        token.token,
        token.token_id,
        token.log_prob,
        likely_tokens(token.alternatives),
    )


def _finished(finished: wire.GenerationFinished) -> GenerationFinished:
    return GenerationFinished(
        finished.sequence,
        finished.text,
        enum_name(wire.FinishReason.DESCRIPTOR, finished.reason),
        finished.log_prob,
        finished.token_count,
        finished.score if finished.HasField("score") else None,
    )
