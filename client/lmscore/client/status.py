"""From the way a gRPC call ended to an exception, with the details of google.rpc.Status."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from lmscore.client.errors import (
    DeadlineExceededError,
    FieldViolation,
    InvalidArgumentError,
    LmscoreError,
    MessageTooLargeError,
    QuotaExceededError,
    ServerError,
    UnavailableError,
    error_class,
)

_DETAILS_KEY = "grpc-status-details-bin"  # fixed by gRPC
_BY_REASON: dict[str, type[LmscoreError]] = {
    "QUOTA_EXCEEDED": QuotaExceededError,
    "DRAIN_TIMEOUT": UnavailableError,  # whose code is that of calls that their callers cancel
}
_BY_NUMBER = {code.value[0]: code for code in StatusCode}


def code_of(number: int) -> StatusCode:
    """The gRPC code of a google.rpc.Code; UNKNOWN for numbers that are none."""
    return _BY_NUMBER.get(number, StatusCode.UNKNOWN)


def error_from_rpc(error: grpc.RpcError, address: str) -> LmscoreError:
    """The exception for a call to ``address`` that ended without an answer."""
    code = error.code()
    message = " ".join((error.details() or code.name).split())
    if code is StatusCode.UNAVAILABLE:
        message = f"{address}: {message}"  # gRPC names the addresses it resolved to, or none
    details = _details(error)
    bad_request, info, retry = BadRequest(), ErrorInfo(), RetryInfo()
    for packed in details.details:
        for detail in (bad_request, info, retry):
            packed.Unpack(detail)
    return class_of(code, message, info)(
        message,
        code=code,
        reason=info.reason,
        violations=tuple(
            FieldViolation(violation.field, violation.description)
            for violation in bad_request.field_violations
        ),
        retry_after_seconds=(
            retry.retry_delay.ToMicroseconds() / 1e6 if retry.HasField("retry_delay") else None
        ),
        incident=info.metadata.get("incident", ""),
    )


def _details(error: grpc.RpcError) -> Status:
    """The google.rpc.Status among the trailing metadata; an empty one if none can be read."""
    trailing: Any = error.trailing_metadata() or ()  # its stub is opaque
    for key, value in trailing:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                break  # a proxy's own; the code and the message are still there
    return Status()


def class_of(code: StatusCode, message: str, info: ErrorInfo) -> type[LmscoreError]:
    """The exception's class for a code, its message and the details that came with it."""
    # gRPC's own size limit shares its code with an overloaded server, and has no reason.
    if code is StatusCode.RESOURCE_EXHAUSTED and not info.reason and "larger than max" in message:
        return MessageTooLargeError
    return _BY_REASON.get(info.reason) or error_class(code)


def answer_overdue(seconds: float) -> DeadlineExceededError:
    """The error for a stream that left its reader waiting for that long."""
    return DeadlineExceededError(
        f"no answer within {seconds:g} s", code=StatusCode.DEADLINE_EXCEEDED
    )


def stream_ended_early() -> ServerError:
    """The error for a stream that the server ended before it had answered everything."""
    return ServerError("the server ended the stream early", code=StatusCode.INTERNAL)


def invalid_argument(field: str, description: str) -> InvalidArgumentError:
    """The error for a value that no request can hold; the field is a path, as servers give it."""
    return InvalidArgumentError(
        f"{field}: {description}",
        code=StatusCode.INVALID_ARGUMENT,
        violations=(FieldViolation(field, description),),
    )


def client_closed() -> LmscoreError:
    """The error for a call of a client that was closed."""
    return LmscoreError("the client is closed", code=StatusCode.CANCELLED)
