"""Requests taken apart by a compiled loop, against protobuf's own parser."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from lmscore.server.convert import field_values
from lmscore.server.convert.score_reply import stream_reply
from lmscore.server.convert.score_request import ScoreRequest, score_request, stream_request
from lmscore.server.errors import InvalidEncodingError, MalformedMessageError, ServiceError
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelIdentity, ModelSelector

field_values.warm_up()


def varint(number: int) -> bytes:
    head = bytes([number & 127])
    return head if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.integers(0, 2**32 - 1)
messages = st.builds(
    wire.ScoreRequest,
    model=st.builds(ModelSelector, name=texts, version=st.none() | numbers),
    texts=st.lists(texts, max_size=8),
    token_sequences=st.lists(st.builds(wire.TokenSequence, ids=st.lists(numbers)), max_size=2),
    context=texts,
    detail=st.sampled_from([-1, 0, 1, 3, 1000]),
    bos=st.none() | st.booleans(),
    alternatives=st.none() | numbers,
    words=st.booleans(),
)
tags = st.tuples(st.integers(0, 20), st.integers(0, 7)).map(lambda t: varint(t[0] << 3 | t[1]))
"""Of fields that there are and are not, right types and wrong ones, groups among them."""

lengths = st.integers(0, 300).map(varint) | st.sampled_from(
    [b"\x81\x00", b"\x80\x80\x01", b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\xff\xff\xff\xff\x0f"]
)
pieces = st.one_of(
    messages.map(lambda message: message.SerializeToString()),
    tags,
    lengths,
    st.binary(max_size=12),
    texts.map(lambda text: b"\x12" + varint(len(text.encode())) + text.encode()),
    st.binary(max_size=4).map(lambda data: b"\x12" + varint(len(data)) + data),
)
almost_messages = st.lists(pieces, max_size=6).map(b"".join)


def put_together(request: ScoreRequest) -> wire.ScoreRequest:
    whole = wire.ScoreRequest()
    whole.CopyFrom(request.rest)
    assert not whole.texts
    whole.texts.extend(text.decode() for text in request.texts.encoded())
    whole.DiscardUnknownFields()
    return whole


@given(messages)
@example(wire.ScoreRequest(texts=["\x01" + "a" * 126, "b" * 200]))  # the longest of one byte
def test_a_request_is_what_protobuf_would_make_of_it(message: wire.ScoreRequest) -> None:
    data = message.SerializeToString()
    request = score_request(data)

    assert put_together(request) == message
    assert request.size == len(data)


@given(almost_messages)
@example(b"\x12\x01\xc3\x12\x01\xa4")  # two texts that only together are UTF-8
@example(b"\x12\x01\xc3\x12\x01\xa5")
@example(b"\x13\x12\x01a\x14")  # what looks like a text within a group
@example(b"\xa2\x01\x01a\x12\x01a")  # an unknown field
@example(b"\xa2\x01\x03\x12\x01a")  # one with what looks like a text
@example(b"\x11\x12\x01a\x12\x01a\x12\x01\x12\x01a\x15\x12\x01a\x12")  # of fixed widths
@example(b"\x28\x01" * 4 + b"\x12\x01a\x11" + b"12345678")
@example(b"\x12\x81\x00a\x12\x01a")  # a length in more bytes than it needs
def test_protobuf_and_we_take_and_refuse_the_same(data: bytes) -> None:
    try:
        expected = wire.ScoreRequest.FromString(data)
    except DecodeError:
        with pytest.raises(ServiceError) as refused:
            score_request(data)
        assert isinstance(refused.value, InvalidEncodingError | MalformedMessageError)
        return
    expected.DiscardUnknownFields()
    assert put_together(score_request(data)) == expected


@given(st.lists(messages, max_size=3), st.integers(0, 2**64 - 1), almost_messages)
@example([], 1, b"\x12\x02\x12\x03\x12\x03abc")  # two halves that only together are a message
def test_a_stream_s_request_is_what_protobuf_would_make_of_it(
    parts: list[wire.ScoreRequest], request_id: int, more: bytes
) -> None:
    scores = [wire.ScoreStreamRequest(score=part).SerializeToString() for part in parts]
    head = wire.ScoreStreamRequest(request_id=request_id).SerializeToString()
    data = b"".join([*scores, head, more])
    try:
        expected = wire.ScoreStreamRequest.FromString(data)
    except DecodeError:
        with pytest.raises(ServiceError):
            stream_request(data)
        return
    expected.DiscardUnknownFields()
    request = stream_request(data)
    assert request.request_id == expected.request_id
    assert put_together(request.score) == expected.score


def test_the_text_that_is_not_utf_8_is_named() -> None:
    good = wire.ScoreRequest(model=ModelSelector(name="m"), texts=["ä", "b"]).SerializeToString()
    with pytest.raises(InvalidEncodingError) as refused:
        score_request(good + b"\x12\x02a\xff")
    assert refused.value.field == "texts[2]"

    score = good + b"\x12\x02a\xff"
    with pytest.raises(InvalidEncodingError) as refused:
        stream_request(b"\x12" + varint(len(score)) + score)
    assert refused.value.field == "score.texts[2]"


@given(st.integers(0, 2**64 - 1), st.integers(0, 20_000))
@example(1, 123)  # an answer of 127 bytes, the longest with a length of one byte
@example(1, 124)
def test_an_answer_of_a_stream_is_the_message_that_protobuf_would_make(
    request_id: int, size: int
) -> None:
    score = wire.ScoreResponse(model=ModelIdentity(name="x" * size))
    expected = wire.ScoreStreamResponse(request_id=request_id, score=score)

    encoded = stream_reply(request_id, score.SerializeToString())

    assert encoded == expected.SerializeToString()
