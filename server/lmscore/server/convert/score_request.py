"""Requests of Score and ScoreStream, from the wire."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError, Message

from lmscore.models.language_model import Texts
from lmscore.server.convert.field_values import FieldValues, take_field
from lmscore.server.wire_check import explain_malformed
from lmscore.v1 import language_model_service_pb2 as wire

_TEXTS = wire.ScoreRequest.DESCRIPTOR.fields_by_name["texts"].number
_SCORE = wire.ScoreStreamRequest.DESCRIPTOR.fields_by_name["score"].number


@dataclass(slots=True)
class ScoreRequest:
    """What is to be scored, and how."""

    texts: Texts
    rest: wire.ScoreRequest  # all but the texts
    size: int  # bytes of the message


@dataclass(slots=True)
class StreamRequest:
    """One of many requests of a call."""

    request_id: int
    score: ScoreRequest


def score_request(data: bytes) -> ScoreRequest:
    """A request; raises the ServiceError that says what is wrong with the message."""
    try:
        return _score_request(data)
    except DecodeError:
        raise explain_malformed(data, wire.ScoreRequest) from None


def stream_request(data: bytes) -> StreamRequest:
    """A request of a stream; raises as score_request does."""
    try:
        taken = take_field(data, _SCORE, wire.ScoreStreamRequest)
        if taken.count > 1:  # protobuf merges them, once each is found to be a message
            merged: Message = wire.ScoreStreamRequest.FromString(data)
            taken = take_field(merged.SerializeToString(), _SCORE, wire.ScoreStreamRequest)
        request_id = wire.ScoreStreamRequest.FromString(taken.rest).request_id
        return StreamRequest(request_id, _score_request(taken.data))
    except DecodeError:
        raise explain_malformed(data, wire.ScoreStreamRequest) from None


def _score_request(data: bytes) -> ScoreRequest:
    taken = take_field(data, _TEXTS, wire.ScoreRequest)
    if not taken.data.isascii() and not _are_texts(taken):
        raise DecodeError("a text is not UTF-8")
    texts = Texts(np.frombuffer(taken.data, np.uint8), taken.offsets)
    return ScoreRequest(texts, wire.ScoreRequest.FromString(taken.rest), len(data))


def _are_texts(taken: FieldValues) -> bool:
    """Whether each of the values is UTF-8: all are together, and none begins within a character."""
    try:
        taken.data.decode()
    except UnicodeDecodeError:
        return False
    begins = taken.offsets[:-1]
    first = np.frombuffer(taken.data, np.uint8)[begins[begins < len(taken.data)]]
    return not bool(((first & 0xC0) == 0x80).any())
