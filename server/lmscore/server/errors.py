"""What a call can end with besides an answer. Each class owns its gRPC status and reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from grpc import StatusCode


class ServiceError(Exception):
    """Base of the errors that callers are told about as they are."""

    code: ClassVar[StatusCode]
    reason: ClassVar[str]


@dataclass(eq=False)
class InvalidFieldError(ServiceError):
    """A field of the request cannot be used."""

    code = StatusCode.INVALID_ARGUMENT
    reason = "INVALID_FIELD"

    field: str  # its path, for example texts[3]
    problem: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class TextTooLongError(InvalidFieldError):
    """A text is over the server's limit."""

    reason = "TEXT_TOO_LONG"


class InvalidEncodingError(InvalidFieldError):
    """A text is not UTF-8."""

    reason = "INVALID_UTF8"


@dataclass(eq=False)
class MalformedMessageError(ServiceError):
    """The request's bytes are not a message of its type."""

    code = StatusCode.INVALID_ARGUMENT
    reason = "MALFORMED_MESSAGE"

    message_type: str

    def __str__(self) -> str:
        return f"the request is not a valid {self.message_type}"


@dataclass(eq=False)
class UnknownModelError(ServiceError):
    """No model of that name, or no such version of it."""

    code = StatusCode.NOT_FOUND
    reason = "MODEL_NOT_FOUND"

    name: str
    version: int | None
    available: list[str]

    def __str__(self) -> str:
        which = self.name if self.version is None else f"{self.name} version {self.version}"
        there = ", ".join(self.available) or "none"
        return f"there is no model {which}; this server has: {there}"


@dataclass(eq=False)
class ModelLoadingError(ServiceError):
    """The model is known, but not loaded yet."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "MODEL_LOADING"

    name: str

    def __str__(self) -> str:
        return f"model {self.name} is still loading; its health service says when it is ready"


@dataclass(eq=False)
class UnsupportedError(ServiceError):
    """The model cannot do what is asked of it."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "UNSUPPORTED_BY_MODEL"

    problem: str

    def __str__(self) -> str:
        return self.problem


@dataclass(eq=False)
class CorruptModelError(ServiceError):
    """The model's file turned out to be damaged."""

    code = StatusCode.DATA_LOSS
    reason = "MODEL_CORRUPT"

    problem: str

    def __str__(self) -> str:
        return self.problem


@dataclass(eq=False)
class OverloadedError(ServiceError):
    """The queue is full."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "QUEUE_FULL"

    queued_bytes: int
    retry_after_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.queued_bytes} bytes of text are waiting already; "
            f"try again in {self.retry_after_seconds:g} s"
        )


@dataclass(eq=False)
class TooManyGenerationsError(ServiceError):
    """No more calls may wait for a place to generate in."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_GENERATIONS"

    waiting: int
    retry_after_seconds: float = field(default=1.0)

    def __str__(self) -> str:
        return (
            f"{self.waiting} calls of Generate are waiting already; "
            f"try again in {self.retry_after_seconds:g} s"
        )


@dataclass(eq=False)
class OutOfMemoryError(ServiceError):
    """The memory, of the device or of the machine, was not enough for the request."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "OUT_OF_MEMORY"

    retry_after_seconds: float = field(default=1.0)

    def __str__(self) -> str:
        return (
            f"there was not enough memory; try again in {self.retry_after_seconds:g} s, "
            "with shorter or fewer texts if it happens again"
        )


@dataclass(eq=False)
class DrainingError(ServiceError):
    """The server is shutting down and takes no new calls."""

    code = StatusCode.UNAVAILABLE
    reason = "DRAINING"

    retry_after_seconds: float = field(default=1.0)

    def __str__(self) -> str:
        return "the server is shutting down; send the call to another one or try again"


class DrainTimeoutError(ServiceError):
    """The call ran for longer than the server could wait before it shut down."""

    code = StatusCode.CANCELLED
    reason = "DRAIN_TIMEOUT"

    def __str__(self) -> str:
        return "the server is shutting down and could not wait for this call to end"
