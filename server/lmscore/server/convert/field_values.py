"""The values of one field of a serialized message, without a Python object for each of them.

A hundred texts take protobuf's parser 4 µs, and Python ten times that to make strings of them and
one buffer of the strings. So a compiled loop takes the values out of the message and puts them end
to end; what is left is short, and protobuf parses it. Fields may come in any order, so that gives
what parsing the whole would have given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from lmscore.models.compiled import i64, inline, kernel

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5  # wire types
_MOST_LENGTH_BYTES = 4
_MOST_VARINT_BYTES = 10
_UNUSUAL = -1


@dataclass(slots=True)
class FieldValues:
    """A message, taken apart."""

    count: int
    data: bytes  # the values, end to end
    offsets: NDArray[np.int64]  # (count + 1,) where each begins and ends
    rest: bytes  # the message without them


def take_field(data: bytes, number: int, message_class: type[Message]) -> FieldValues:
    """The values of a length-delimited field with a number up to 15.

    Raises DecodeError for what is no message of the class; of that, only the values and the rest
    remain to be checked. What is encoded unusually is first encoded anew, as protobuf does it.
    """
    taken = _take(data, number)
    if taken is None:
        message = message_class.FromString(data)
        message.DiscardUnknownFields()
        taken = _take(message.SerializeToString(), number)
    if taken is None:
        raise AssertionError("protobuf has encoded a message in a way that it should not")
    return taken


def warm_up() -> None:
    """Compile the loops."""
    _take(b"\x12\x01a\x08\x01", 2)


def _take(data: bytes, number: int) -> FieldValues | None:
    """None for what is encoded in an unusual way, or is no message at all."""
    message = np.frombuffer(data, np.uint8)
    tag = number << 3 | _LENGTH_DELIMITED
    count, size, rest_size = _measure(message, tag)
    if count < 0:
        return None
    offsets = np.empty(count + 1, np.int64)
    values, rest = np.empty(size, np.uint8), np.empty(rest_size, np.uint8)
    _copy(message, tag, values, offsets, rest)
    return FieldValues(count, values.tobytes(), offsets, rest.tobytes())


@kernel
def _measure(message: NDArray[np.uint8], tag: int) -> tuple[int, int, int]:
    """How many values there are, and the bytes of them and of the rest; count is -1 if unusual."""
    count = i64(0)
    size = i64(0)
    rest = i64(0)
    at = i64(0)
    while at < message.size:
        begin, end = _value(message, at)
        if end < 0:
            return i64(_UNUSUAL), size, rest
        if message[at] == tag:
            count += 1
            size += end - begin
        else:
            rest += end - at
        at = end
    return count, size, rest


@kernel
def _copy(
    message: NDArray[np.uint8],
    tag: int,
    values: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    rest: NDArray[np.uint8],
) -> None:
    """Take apart a message that has been measured."""
    offsets[0] = 0
    count = i64(0)
    kept = i64(0)
    at = i64(0)
    while at < message.size:
        begin, end = _value(message, at)
        if message[at] == tag:
            first = offsets[count]
            count += 1
            offsets[count] = first + end - begin
            for i in range(end - begin):
                values[first + i] = message[begin + i]
        else:
            for i in range(end - at):
                rest[kept + i] = message[at + i]
            kept += end - at
        at = end


@inline
def _value(message: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """Where the value of the field that begins there begins and ends; -1 if that is unusual."""
    tag = i64(message[at])
    begin = at + 1
    kind = tag & 7
    end = i64(_UNUSUAL)
    if tag < 8 or tag > 127:
        return begin, end
    if kind == _LENGTH_DELIMITED:
        length = i64(0)
        last = _varint_end(message, begin, _MOST_LENGTH_BYTES)
        for i in range(last - 1, begin - 1, -1):
            length = length << 7 | i64(message[i]) & 127
        begin = last
        if last > 0:
            end = last + length
    elif kind == _VARINT:
        end = _varint_end(message, begin, _MOST_VARINT_BYTES)
    elif kind == _FIXED32:
        end = begin + 4
    elif kind == _FIXED64:
        end = begin + 8
    if end > message.size:
        end = i64(_UNUSUAL)
    return begin, end


@inline
def _varint_end(message: NDArray[np.uint8], begin: int, most: int) -> int:
    """Where a number ends that is encoded in as few bytes as it can be; -1 if it is not."""
    last = begin
    while last < message.size and last - begin < most and message[last] > 127:
        last += 1
    if (
        last == message.size
        or last - begin == most
        or (last > begin and message[last] == 0)
        or (last - begin == _MOST_VARINT_BYTES - 1 and message[last] != 1)
    ):
        last = i64(_UNUSUAL) - 1
    return last + 1
