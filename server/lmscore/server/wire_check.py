"""Finds what is wrong with a request that protobuf cannot parse, so that the caller is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from lmscore.server.errors import InvalidEncodingError, MalformedMessageError, ServiceError

_LENGTH_DELIMITED = 2  # wire type of strings and messages


def explain_malformed(data: bytes, message_class: type[Message]) -> ServiceError:
    """The error to answer with: the first string that is not UTF-8, or no message at all."""
    descriptor: Any = message_class.DESCRIPTOR
    try:
        field, offset = next(_invalid_strings(data, descriptor, ""))
    except (StopIteration, DecodeError):
        return MalformedMessageError(descriptor.full_name)
    return InvalidEncodingError(field, f"not UTF-8 from byte {offset}")


def _invalid_strings(data: bytes, descriptor: Any, prefix: str) -> Iterator[tuple[str, int]]:
    """Path, and first bad byte, of every string in the message that is not UTF-8."""
    raw = Empty()
    raw.ParseFromString(data)  # every field is unknown to Empty, so nothing is decoded
    seen: Counter[int] = Counter()
    unknown_fields: Any = UnknownFieldSet(raw)  # its stub does not know that it is iterable
    for unknown in unknown_fields:
        field = descriptor.fields_by_number.get(unknown.field_number)
        if field is None or unknown.wire_type != _LENGTH_DELIMITED:
            continue
        path = f"{prefix}{field.name}"
        if field.is_repeated:
            path += f"[{seen[field.number]}]"
            seen[field.number] += 1
        if field.message_type is not None:
            yield from _invalid_strings(unknown.data, field.message_type, f"{path}.")
        elif field.type == FieldDescriptor.TYPE_STRING:
            offset = _first_invalid_byte(unknown.data)
            if offset is not None:
                yield path, offset


def _first_invalid_byte(data: bytes) -> int | None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None
