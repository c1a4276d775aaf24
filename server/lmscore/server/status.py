"""Errors as google.rpc.Status, the form in which gRPC carries their details."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from lmscore.server.errors import InvalidFieldError, ServiceError, UnknownModelError

DOMAIN = "lmscore"
MAX_SHOWN = 300  # characters of a message, a field or a name
DETAILS_KEY = "grpc-status-details-bin"  # fixed by gRPC


def status_of(error: ServiceError) -> Status:
    """The status with the details that the error has: reason, field, resource, retry delay."""
    info = ErrorInfo(reason=error.reason, domain=DOMAIN)
    return _status(error.code, _clipped(str(error)), [info, *_particulars(error)])


def internal_status(incident: str) -> Status:
    """The status for a bug: an id to find it in the log by, and nothing of its inside."""
    info = ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"incident": incident})
    message = f"internal error {incident}; the server's log has the details under this id"
    return _status(grpc.StatusCode.INTERNAL, message, [info])


def code_and_reason(status: Status) -> tuple[grpc.StatusCode, str]:
    """The code of a status made here, and the reason that its details give."""
    info = ErrorInfo()
    status.details[0].Unpack(info)
    return next(code for code in grpc.StatusCode if code.value[0] == status.code), info.reason


def _status(code: grpc.StatusCode, message: str, details: Sequence[Message]) -> Status:
    status = Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _particulars(error: ServiceError) -> list[BadRequest | ResourceInfo | RetryInfo]:
    particulars: list[BadRequest | ResourceInfo | RetryInfo] = []
    if isinstance(error, InvalidFieldError):
        violation = BadRequest.FieldViolation(
            field=_clipped(error.field), description=_clipped(error.problem)
        )
        particulars.append(BadRequest(field_violations=[violation]))
    if isinstance(error, UnknownModelError):
        particulars.append(ResourceInfo(resource_type="model", resource_name=_clipped(error.name)))
    delay_seconds = getattr(error, "retry_after_seconds", None)
    if delay_seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(int(delay_seconds * 1e9))
        particulars.append(RetryInfo(retry_delay=delay))
    return particulars


def _clipped(text: str) -> str:
    """What a caller sent may be long, and gRPC carries errors where there is little room."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


async def abort(context: grpc.aio.ServicerContext, status: Status) -> NoReturn:  # type: ignore[type-arg]
    """End the call with a status and its details."""
    code, _ = code_and_reason(status)
    metadata = (*context.trailing_metadata(), (DETAILS_KEY, status.SerializeToString()))
    await context.abort(code, status.message, trailing_metadata=metadata)
