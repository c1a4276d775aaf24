"""Requests that no client would send, many at a time, and what each of them ends in."""

from __future__ import annotations

import asyncio
import math
import random
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1 import model_service_pb2
from tests.soak.mutations import LANGUAGE_MODEL, MODELS, Mutator, Seed, seeds
from tests.soak.report import Tally

ALLOWED = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""What a request may end in, whatever is in it."""

SETTINGS = {
    "max_generated_tokens": 64,
    "max_num_sequences": 8,
    "max_beam_width": 8,
    "max_texts": 200,
    "max_text_bytes": 2000,
    "max_distributions": 64,
    "max_alternatives": 50,
    "max_weights": 50,
    "max_message_bytes": 1 << 18,
}
"""Of a server that is to answer many requests a second, however large they say they are."""

MODELS_ASKED = ("ngram", "ngram", "ngram", "ngram", "lstm")
"""Most requests are for the model that answers sooner: they are to be many."""

DEADLINE_SECONDS = 100.0
_STREAM_REQUESTS = 4
_STREAM_THREADS = 16
_SHARE_OF_GARBAGE = 0.03

_RESPONSES: dict[str, type[Message]] = {
    f"{LANGUAGE_MODEL}Score": wire.ScoreResponse,
    f"{LANGUAGE_MODEL}ScoreStream": wire.ScoreStreamResponse,
    f"{LANGUAGE_MODEL}Rescore": wire.RescoreResponse,
    f"{LANGUAGE_MODEL}Generate": wire.GenerateResponse,
    f"{LANGUAGE_MODEL}Predict": wire.PredictResponse,
    f"{LANGUAGE_MODEL}Tokenize": wire.TokenizeResponse,
    f"{MODELS}GetModel": model_service_pb2.GetModelResponse,
    f"{MODELS}ListModels": model_service_pb2.ListModelsResponse,
}


@dataclass(frozen=True)
class _Channels:
    """Connections to one server."""

    asynchronous: grpc.aio.Channel
    blocking: grpc.Channel
    threads: ThreadPoolExecutor


async def run_fuzz(
    address: str,
    models: Sequence[str],
    tally: Tally,
    *,
    requests: int,
    in_flight: int,
    seed: int,
    seconds: float = math.inf,
) -> None:
    """Send so many requests, or as many as there is time for, so many at a time."""
    mutator, chance = Mutator(seed), random.Random(seed)
    originals = seeds(models)
    left = iter(range(requests))
    end = time.monotonic() + seconds

    async def sender(channels: _Channels) -> None:
        for _ in left:
            if time.monotonic() > end:
                return
            await _send(channels, chance.choice(originals), mutator, chance, tally)

    with ThreadPoolExecutor(_STREAM_THREADS) as threads, grpc.insecure_channel(address) as blocking:
        async with grpc.aio.insecure_channel(address) as asynchronous:
            channels = _Channels(asynchronous, blocking, threads)
            await asyncio.gather(*(sender(channels) for _ in range(in_flight)))
    tally.check_settled()


async def _send(
    channels: _Channels, seed: Seed, mutator: Mutator, chance: random.Random, tally: Tally
) -> None:
    method = seed.method.rpartition("/")[2]
    count = _STREAM_REQUESTS if method == "ScoreStream" else 1
    garbage = chance.random() < _SHARE_OF_GARBAGE
    data = [mutator.garbage() if garbage else mutator.mutated(seed) for _ in range(count)]
    metadata = _metadata(chance)
    tally.sent[method] += 1
    began = time.monotonic()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS + 5):
            answers = await _answers(channels, seed.method, data, metadata)
    except grpc.RpcError as error:
        allowed = error.code() in ALLOWED
        shown = b" | ".join(data)[:200].hex()
        tally.failed(method, error.code().name, "" if allowed else f"{error.details()}: {shown}")
    except TimeoutError:
        tally.lose(method)
    else:
        problem = _problem(_RESPONSES[seed.method], answers)
        tally.answered(method, time.monotonic() - began, problem and f"{problem}: {data[0].hex()}")


def _metadata(chance: random.Random) -> tuple[tuple[str, str | bytes], ...]:
    """Most calls have none; some say how urgent they are, or what nobody understands."""
    choices: tuple[tuple[tuple[str, str | bytes], ...], ...] = (
        (("lmscore-priority", "bulk"),),
        (("lmscore-priority", "no such"),),
        (("lmscore-priority", "bulk"), ("lmscore-priority", "interactive")),
        (("x-bin", b"\xff\0"),),
        (("authorization", "Bearer nobody"),),
        (("traceparent", "00-zz-zz-zz"),),
    )
    return chance.choice(choices) if chance.random() < 0.1 else ()


async def _answers(
    channels: _Channels, method: str, data: list[bytes], metadata: Any
) -> list[bytes]:
    given: dict[str, Any] = {"timeout": DEADLINE_SECONDS, "metadata": metadata}
    if method.endswith("/ScoreStream"):
        # On asyncio, gRPC hides how a stream ended that was being written to.
        stream: Any = channels.blocking.stream_stream(method)
        answers = partial(_all_of_stream, stream, data, given)
        return await asyncio.get_running_loop().run_in_executor(channels.threads, answers)
    if method.endswith("/Generate"):
        generate: Any = channels.asynchronous.unary_stream(method)
        return [answer async for answer in generate(data[0], **given)]
    call: Any = channels.asynchronous.unary_unary(method)
    return [await call(data[0], **given)]


def _all_of_stream(stream: Any, data: list[bytes], given: dict[str, Any]) -> list[bytes]:
    return list(stream(iter(data), **given))


def _problem(response: type[Message], answers: list[bytes]) -> str:
    """What is wrong with answers to a request that nobody can check: numbers that are none."""
    for data in answers:
        message = response.FromString(data)
        for path, value in _leaves(message, ""):
            if isinstance(value, float) and math.isnan(value):
                return f"{path} is NaN"
            if path.endswith("error.code") and value not in {c.value[0] for c in ALLOWED}:
                return f"{path} is {value}"
    return ""


def _leaves(message: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in value if field.is_repeated else [value]:
                yield from _leaves(each, f"{path}.")
        else:
            yield from ((path, each) for each in (value if field.is_repeated else [value]))


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_BYTES_THAT_ARE_NO_CALL = (
    b"",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # as TLS begins
    _PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\xff" * 100,
    _PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",  # a frame that is larger than may be
)


def send_what_is_no_call(address: str, tally: Tally, seed: int) -> None:
    """Connect and send bytes that are not gRPC."""
    host, _, port = address.rpartition(":")
    noise = random.Random(seed).randbytes(10_000)
    for data in (*_BYTES_THAT_ARE_NO_CALL, noise, _PREFACE + noise):
        with (
            suppress(OSError),
            socket.create_connection((host, int(port)), timeout=5) as connection,
        ):
            connection.sendall(data)
            connection.settimeout(0.2)
            connection.recv(1000)
        tally.faults["bytes that are no call"] += 1
