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
class UnknownLabelError(ServiceError):
    """The model has no such label."""

    code = StatusCode.NOT_FOUND
    reason = "LABEL_NOT_FOUND"

    name: str
    label: str
    available: list[str]

    def __str__(self) -> str:
        there = ", ".join(self.available) or "none"
        return f"model {self.name} has no label {self.label}; it has: {there}"


@dataclass(eq=False)
class ModelLoadingError(ServiceError):
    """The model is known, but not loaded yet."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "MODEL_LOADING"

    name: str

    def __str__(self) -> str:
        return f"model {self.name} is still loading; its health service says when it is ready"


@dataclass(eq=False)
class NotLoadedError(ServiceError):
    """The version is in the repository and not in memory."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "MODEL_NOT_LOADED"

    name: str
    version: int

    def __str__(self) -> str:
        return f"model {self.name} version {self.version} is not loaded; LoadModel loads it"


@dataclass(eq=False)
class AdminOnlyError(ServiceError):
    """The call changes which models there are, and this is not the admin address."""

    code = StatusCode.PERMISSION_DENIED
    reason = "ADMIN_ONLY"

    method: str

    def __str__(self) -> str:
        return f"{self.method} answers only on the server's admin address"


@dataclass(eq=False)
class RefusedChangeError(ServiceError):
    """The repository cannot be changed in this way, or not at all."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "CHANGE_REFUSED"

    problem: str

    def __str__(self) -> str:
        return self.problem


@dataclass(eq=False)
class NotCalibratedError(ServiceError):
    """Nobody has said beyond what a word is unexpected to the model."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "NOT_CALIBRATED"

    name: str

    def __str__(self) -> str:
        return (
            f"model {self.name} was not calibrated: give a threshold, or calibrate it on ordinary "
            "text (lmscore-eval --calibrate MODEL TEXT) and load it again"
        )


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

    queued: int
    unit: str  # of what there is too much
    retry_after_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.queued} {self.unit} are waiting already; "
            f"try again in {self.retry_after_seconds:.3g} s"
        )


@dataclass(eq=False)
class DeadlineTooShortError(ServiceError):
    """So much waits that the work would not be done by the call's deadline."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "WOULD_MISS_DEADLINE"

    remaining_seconds: float
    needed_seconds: float
    retry_after_seconds: float

    def __str__(self) -> str:
        return (
            f"there is work for about {self.needed_seconds:.3g} s, and the deadline is in "
            f"{self.remaining_seconds:.3g} s; try again in {self.retry_after_seconds:.3g} s, "
            "or allow more time"
        )


@dataclass(eq=False)
class DeadlinePassedError(ServiceError):
    """The call's deadline passed before its work was done."""

    code = StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_PASSED"

    def __str__(self) -> str:
        return "the deadline passed before the work was done, and what was left of it was dropped"


@dataclass(eq=False)
class TooManyCallsError(ServiceError):
    """The server, or this caller's part of it, is full of calls."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_CALLS"

    amount: int
    unit: str  # of what there is too much
    retry_after_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.amount} {self.unit} are in progress already; "
            f"try again in {self.retry_after_seconds:.3g} s"
        )


@dataclass(eq=False)
class TooManyGenerationsError(ServiceError):
    """No more calls may wait for a place to generate in."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_GENERATIONS"

    waiting: int
    retry_after_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.waiting} calls of Generate are waiting already; "
            f"try again in {self.retry_after_seconds:.3g} s"
        )


@dataclass(eq=False)
class OutOfMemoryError(ServiceError):
    """The memory, of the device or of the machine, was not enough for the request."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "OUT_OF_MEMORY"

    retry_after_seconds: float = field(default=1.0)

    def __str__(self) -> str:
        return (
            f"there was not enough memory; try again in {self.retry_after_seconds:.3g} s, "
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
