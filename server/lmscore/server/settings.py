"""The server's configuration: one frozen, validated object."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from lmscore.server.model_source import ModelSource, check_models, check_path, parse_models

_ENDPOINT = re.compile(r"(https?://)?[^/\s]+:[0-9]{1,5}/?")
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")


def _check_folder(path: str) -> str:
    return str(check_path(Path(path))) if path else path


def _check_address(value: object) -> object:
    if isinstance(value, str):
        _, separator, port = value.rpartition(":")
        if not separator or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError(f"{value!r} is not HOST:PORT")
    return value


def _check_admin_address(value: object) -> object:
    return value if value == "" else _check_address(value)


def _check_endpoint(value: object) -> object:
    if isinstance(value, str) and value and not _ENDPOINT.fullmatch(value):
        raise ValueError(f"{value!r} is not [http[s]://]HOST:PORT")
    return value


def _check_device(value: object) -> object:
    if isinstance(value, str) and not _DEVICE.fullmatch(value):
        raise ValueError(f"{value!r} is none of auto, cpu, cuda, cuda:N")
    return value


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


_OptionalPath = Annotated[Path | None, BeforeValidator(_none_if_empty)]


class Settings(BaseModel):
    """Everything that can be configured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_booleans(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            if isinstance(value, bool):  # which would pass for a number
                raise ValueError(f"{name}: {str(value).lower()} is not a value of this setting")
        return values

    @model_validator(mode="before")
    @classmethod
    def _divide_threads(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Unless threads are given, the processes have the cores together."""
        processes = str(values.get("processes", 1))
        if "threads" in values or not (processes.isascii() and processes.isdigit()):
            return values
        cores = os.cpu_count() or 1
        return {**values, "threads": max(1, cores // max(1, int(processes)))}

    @model_validator(mode="after")
    def _refuse_half_of_tls(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key need each other")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        return self

    model: Annotated[
        tuple[ModelSource, ...],
        BeforeValidator(parse_models),
        AfterValidator(check_models),
        Field(description="Models to serve, as NAME=PATH[,NAME=PATH…]"),
    ] = ()
    repository: Annotated[
        str,
        AfterValidator(_check_folder),
        Field(
            description="Folder of models to serve and to watch, as NAME/VERSION/; none if empty"
        ),
    ] = ""
    repository_poll_seconds: Annotated[
        float,
        Field(ge=0.01, le=3600, description="How often to look into the repository"),
    ] = 2.0
    keep_versions: Annotated[
        int, Field(ge=1, description="Newest versions of each model that are kept loaded")
    ] = 1
    load: Annotated[
        Literal["map", "copy"],
        Field(
            description="Map .ngram files and KenLM binaries, which may then not be written to,"
            " or copy them into memory"
        ),
    ] = "map"
    admin: Annotated[
        str,
        BeforeValidator(_check_admin_address),
        Field(description="Address for calls that load and unload, as HOST:PORT; none if empty"),
    ] = ""
    listen: Annotated[
        str,
        BeforeValidator(_check_address),
        Field(description="Address to listen on, as HOST:PORT; port 0 takes a free one"),
    ] = "127.0.0.1:50051"
    threads: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="Threads that score with n-grams, and CPU threads that one network uses; "
            "by default, the processes have the cores together",
        ),
    ] = os.cpu_count() or 1
    processes: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="Processes that serve together on one port; threads and limits are of each",
        ),
    ] = 1
    metrics: Annotated[
        str,
        BeforeValidator(lambda value: value and _check_address(value)),
        Field(
            description="Address for Prometheus to read metrics at, as HOST:PORT; empty for none"
        ),
    ] = ""
    device: Annotated[
        str,
        BeforeValidator(_check_device),
        Field(description="Where networks compute: cpu, cuda, cuda:N, or auto for CUDA if any"),
    ] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="Precision of networks: float32, bfloat16, or auto for the faster one"),
    ] = "auto"
    max_batch_tokens: Annotated[
        int, Field(ge=1, description="Most tokens that a network computes at once")
    ] = 8192
    max_batch_requests: Annotated[
        int, Field(ge=1, description="Most requests that a network computes as one")
    ] = 256
    max_batch_delay_seconds: Annotated[
        float,
        Field(ge=0, le=1, description="How long a free network waits for more requests; 0: not"),
    ] = 0.0
    max_message_bytes: Annotated[
        int, Field(ge=1024, le=2**31 - 1, description="Largest request and response, in bytes")
    ] = 16 * 2**20
    max_texts: Annotated[
        int, Field(ge=1, description="Most texts, or hypotheses, in one request")
    ] = 20_000
    max_text_bytes: Annotated[int, Field(ge=1, description="Longest text, in UTF-8 bytes")] = 2**20
    max_distributions: Annotated[
        int,
        Field(ge=1, description="Next-token distributions (prompts, FULL detail) of one request"),
    ] = 4096
    max_alternatives: Annotated[
        int, Field(ge=1, description="Most tokens told of a next-token distribution")
    ] = 1000
    max_weights: Annotated[
        int, Field(ge=1, description="Most weight settings in one Rescore request")
    ] = 1000
    max_queued_bytes: Annotated[
        int, Field(ge=1, description="Text that may wait to be scored, in bytes, by queue")
    ] = 64 * 2**20
    max_queued_tokens: Annotated[
        int, Field(ge=1, description="The same in tokens, as far as they can be told beforehand")
    ] = 8 * 2**20
    max_queued_requests: Annotated[int, Field(ge=1, description="The same in requests")] = 4096
    max_concurrent_calls: Annotated[
        int, Field(ge=1, description="Calls in progress, streams and those that wait included")
    ] = 4096
    max_concurrent_streams_per_connection: Annotated[
        int, Field(ge=1, le=2**31 - 1, description="The same of one connection; others wait there")
    ] = 1000
    max_inflight_bytes: Annotated[
        int, Field(ge=1, description="Requests in progress, and replies being sent, in bytes")
    ] = 512 * 2**20
    max_stream_requests: Annotated[
        int, Field(ge=1, description="Unanswered requests of one ScoreStream")
    ] = 64
    max_stream_bytes: Annotated[
        int, Field(ge=1, description="Unanswered requests of one ScoreStream, in bytes")
    ] = 4 * 2**20
    max_sequences: Annotated[
        int, Field(ge=1, description="Texts, or candidates of beams, that a model writes at once")
    ] = 128
    max_num_sequences: Annotated[
        int, Field(ge=1, description="Most texts of one Generate request")
    ] = 64
    max_beam_width: Annotated[int, Field(ge=1, description="Most candidates of a beam search")] = 64
    max_generated_tokens: Annotated[
        int, Field(ge=1, description="Most tokens of a generated text")
    ] = 4096
    max_stop_bytes: Annotated[
        int, Field(ge=1, description="Stop strings of one Generate request, in UTF-8 bytes")
    ] = 4096
    max_listed_tokens: Annotated[
        int, Field(ge=1, description="Most stop tokens, or banned ones, of one Generate request")
    ] = 1000
    max_waiting_generations: Annotated[
        int, Field(ge=1, description="Calls of Generate that may wait for a place, by model")
    ] = 256
    max_prefill_tokens: Annotated[
        int,
        Field(ge=1, description="Tokens of prompts that are read between two steps of other texts"),
    ] = 512
    max_unwritten_tokens: Annotated[
        int,
        Field(ge=1, description="Tokens that may wait for a slow reader before its texts pause"),
    ] = 1024
    message_interval_seconds: Annotated[
        float, Field(ge=0, le=60, description="Shortest time between two messages of a Generate")
    ] = 0.005
    drain_timeout_seconds: Annotated[
        float, Field(ge=0, le=3600, description="How long running calls may go on after SIGTERM")
    ] = 30.0
    log_format: Annotated[
        Literal["console", "json"], Field(description="How log lines look: console or json")
    ] = "console"
    log_texts: Annotated[
        Literal["on", "off"],
        Field(description="Whether logs of internal errors may show what was sent: on or off"),
    ] = "off"
    tls_certificate: Annotated[
        _OptionalPath, Field(description="PEM file of the server's certificate; turns TLS on")
    ] = None
    tls_key: Annotated[_OptionalPath, Field(description="PEM file of the certificate's key")] = None
    tls_client_ca: Annotated[
        _OptionalPath,
        Field(description="PEM file of the authority whose certificates clients have to show"),
    ] = None
    api_keys: Annotated[
        _OptionalPath, Field(description="TOML file of API keys; calls need one of them")
    ] = None
    reflection: Annotated[
        Literal["on", "off"],
        Field(description="Whether tools may ask what services there are: on or off"),
    ] = "on"
    request_log_rate: Annotated[
        int, Field(ge=0, description="Most log lines a second about calls that ended; 0 for none")
    ] = 20
    trace_endpoint: Annotated[
        str,
        BeforeValidator(_check_endpoint),
        Field(
            description="Where traces go over OTLP/gRPC, as [http[s]://]HOST:PORT; none if empty"
        ),
    ] = ""
    trace_ratio: Annotated[
        float, Field(ge=0, le=1, description="Share of calls traced whose callers do not say")
    ] = 1.0
