"""The page of what calls can end with, from the server's exceptions and the client's."""

from __future__ import annotations

from collections.abc import Iterator

from docs.reference.markdown import (
    code,
    generated_by,
    page,
    prose,
    require_descriptions,
    table,
)
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import StatusCode

import lmscore.server.security.errors  # noqa: F401 (its classes are among those that are listed)
from lmscore.client.status import class_of
from lmscore.server.errors import InvalidFieldError, ServiceError, UnknownModelError

_INTRODUCTION = """\
A call that fails ends with a gRPC code and, as the metadata `grpc-status-details-bin`, a
[google.rpc.Status](https://google.aip.dev/193) with details: an `ErrorInfo` of the domain
`lmscore`, whose `reason` is below and stays the same from version to version; a `BadRequest` with
the path of the field at fault, such as `texts[3]`; a `RetryInfo` with the time after which there is
room; a `ResourceInfo` with the name of a model.

One text, list or prompt that cannot be answered does not end a call: it has an
[`ItemError`](contract.md#itemerror) with the same codes and reasons, and the others have their
answers.

The exceptions of the Python client are those of `lmscore.client`; each has `code`, `reason`,
`field`, `retry_after_seconds` and `incident`. It makes calls again that end with UNAVAILABLE or
with a `RetryInfo`: [service-config.md](../clients/service-config.md)."""
_BUG = [
    "`INTERNAL`",
    "`INTERNAL`",
    "A bug. The server's log has more under the incident.",
    "incident",
]


def build() -> str:
    """The whole page."""
    classes = sorted(_all(ServiceError), key=lambda each: (each.code.value[0], each.reason))
    require_descriptions("errors", ((each.__name__, each.__doc__ or "") for each in classes))
    rows = [_row(each) for each in _merged(classes)]
    rows.append([*_BUG, code(class_of(StatusCode.INTERNAL, "", ErrorInfo()).__name__)])
    return page(
        [
            "# Errors",
            generated_by("`server/lmscore/server/errors.py` and its like"),
            _INTRODUCTION,
            table(["code", "reason", "meaning", "details", "in Python"], rows),
        ]
    )


def _all(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _all(each)


def _merged(classes: list[type[ServiceError]]) -> Iterator[list[type[ServiceError]]]:
    """Classes of one code and reason, which callers cannot tell apart."""
    names = dict.fromkeys((each.code, each.reason) for each in classes)
    for name in names:
        yield [each for each in classes if (each.code, each.reason) == name]


def _row(classes: list[type[ServiceError]]) -> list[str]:
    first = classes[0]
    meaning = " Or: ".join(prose((each.__doc__ or "").partition("\n")[0]) for each in classes)
    exception = class_of(first.code, "", ErrorInfo(reason=first.reason))
    return [
        code(first.code.name),
        code(first.reason),
        meaning,
        ", ".join(_details(first)),
        code(exception.__name__),
    ]


def _details(kind: type[ServiceError]) -> Iterator[str]:
    if issubclass(kind, InvalidFieldError):
        yield "field"
    if issubclass(kind, UnknownModelError):
        yield "model"
    if "retry_after_seconds" in getattr(kind, "__dataclass_fields__", {}):
        yield "retry delay"
