"""What a call can end with besides an answer. The class tells the gRPC code."""

from __future__ import annotations

from dataclasses import dataclass

from grpc import StatusCode


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request that the server cannot use."""

    field: str  # its path, for example texts[3]
    description: str


class LmscoreError(Exception):
    """Base of all errors of the client; its text is the server's message, for people."""

    def __init__(
        self,
        message: str,
        *,
        code: StatusCode = StatusCode.UNKNOWN,
        reason: str = "",
        violations: tuple[FieldViolation, ...] = (),
        retry_after_seconds: float | None = None,
        incident: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason  # a stable upper-case name of the cause, for example QUEUE_FULL
        self.violations = violations
        self.retry_after_seconds = retry_after_seconds  # absent if the server did not say
        self.incident = incident  # what to look for in the server's log; empty if it gave none

    @property
    def field(self) -> str:
        """Path of the first field at fault; empty if no field is."""
        return self.violations[0].field if self.violations else ""


class InvalidArgumentError(LmscoreError):
    """The request has a field that cannot be used; ``violations`` tells which."""


class ModelNotFoundError(LmscoreError):
    """The server has no model of that name, or not that version of it."""


class ModelNotReadyError(LmscoreError):
    """The model is still loading, or cannot do what was asked."""


class OverloadedError(LmscoreError):
    """A limit of the server is reached; try again after ``retry_after_seconds``."""


class QuotaExceededError(OverloadedError):
    """The API key has used up what it may, for now; others may have room."""


class MessageTooLargeError(LmscoreError):
    """A request or an answer is over a limit in bytes: send less at a time."""


class DeadlineExceededError(LmscoreError):
    """There was no answer in time."""


class UnavailableError(LmscoreError):
    """The server cannot be reached, or is shutting down; retries did not help."""


class AuthenticationError(LmscoreError):
    """Credentials are missing, wrong, or not enough for the call."""


class UnauthenticatedError(AuthenticationError):
    """The server wants an API key and got none, or none that it knows."""


class PermissionDeniedError(AuthenticationError):
    """The API key is known, but not allowed to do this."""


class ServerError(LmscoreError):
    """The server failed; ``incident`` names the failure in its log."""


_CLASSES: dict[StatusCode, type[LmscoreError]] = {
    StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    StatusCode.OUT_OF_RANGE: InvalidArgumentError,
    StatusCode.NOT_FOUND: ModelNotFoundError,
    StatusCode.FAILED_PRECONDITION: ModelNotReadyError,
    StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    StatusCode.UNAVAILABLE: UnavailableError,
    StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    StatusCode.INTERNAL: ServerError,
    StatusCode.UNKNOWN: ServerError,
    StatusCode.DATA_LOSS: ServerError,
}


def error_class(code: StatusCode) -> type[LmscoreError]:
    """The class for a code; LmscoreError itself for codes without one of their own."""
    return _CLASSES.get(code, LmscoreError)


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why one item of a request has no answer, while the others have theirs."""

    code: StatusCode
    reason: str
    message: str
    field: str  # path within the request, for example texts[3]; may be empty

    @property
    def problem(self) -> str:
        """The message without the item's place in its request, which batches make meaningless."""
        item = self.field.partition(".")[0].partition(":")[0]  # texts[3], lists[3]
        return self.message.removeprefix(item).lstrip(".: ") if item else self.message

    def exception(self) -> LmscoreError:
        """The same as an exception, of the class that its code has."""
        violations = (FieldViolation(self.field, self.message),) if self.field else ()
        return error_class(self.code)(
            self.message, code=self.code, reason=self.reason, violations=violations
        )
