"""Text from bytes in pieces: what comes out is what one look at all the bytes gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.decoding.parameters import Decoding
from lmscore.models.decoding.stopping import StopStrings, TextStream
from lmscore.models.decoding.text_writer import TextWriter
from lmscore.models.text_decoder import TextDecoder
from lmscore.models.tokenization.decoder import WordDecoder
from tests.models.decoding.table_model import BOS, EOS, TableModel

# Few bytes, so that stop strings occur; some are parts of characters: é is c3 a9, 日 is e6 97 a5.
piece = st.lists(
    st.sampled_from([b"a", b"b", b"\n", b"\xc3", b"\xa9", b"\xe6", b"\x97", b"\xa5", b"\xff"]),
    max_size=5,
).map(b"".join)


def one_look(data: bytes, stops: list[bytes]) -> tuple[str, bool]:
    """The text before the stop string that ends first, of those the longest."""
    ends = [(data.find(s) + len(s), data.find(s)) for s in stops if s in data]
    text = data[: min(ends)[1]] if ends else data
    return text.decode(errors="replace"), bool(ends)


@given(st.lists(piece, max_size=8), st.lists(piece.filter(bool), max_size=3))
def test_joined_pieces_are_the_text_before_the_first_stop_string(
    pieces: list[bytes], stops: list[bytes]
) -> None:
    stream = TextStream(StopStrings(stops))
    deltas = []
    for data in pieces:
        deltas.append(stream.push(data))
        deltas[-1].encode()  # valid at any time
        if stream.stopped:
            break
    stopped = stream.stopped
    deltas.append(stream.finish())

    assert ("".join(deltas), stopped) == one_look(b"".join(pieces), stops)


@given(st.lists(piece, max_size=8), st.lists(piece.filter(bool), min_size=1, max_size=3))
def test_only_what_may_begin_a_stop_string_or_a_character_is_held_back(
    pieces: list[bytes], stops: list[bytes]
) -> None:
    stream = TextStream(StopStrings(stops))
    text, data = "", b""
    for each in pieces:
        text += stream.push(each)
        data += each
        if stream.stopped:
            return
        held = max((n for s in stops for n in range(len(s)) if data.endswith(s[:n])), default=0)
        shown = data[: len(data) - held].decode(errors="replace")
        assert shown.startswith(text)
        assert len(shown) - len(text) <= 3  # of an incomplete character


def test_no_stop_string_ends_before_it_may() -> None:
    stream = TextStream(StopStrings([b"ab"]))

    assert stream.push(b"xab", may_stop=False) == "xab"
    assert stream.push(b"ya", may_stop=False) == "y"
    assert stream.push(b"bz") == ""
    assert stream.stopped


def test_incomplete_characters_at_the_end_are_replaced() -> None:
    stream = TextStream(StopStrings([]))

    assert stream.push("é".encode() + b"\xe6\x97") == "é"
    assert stream.finish() == "\ufffd"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [(b"", b"a b"), (b"a", b" a b"), (b"a ", b"a b"), (b"a\n", b"a b"), (b"\t", b"a b")],
)
def test_words_are_separated_by_blanks(prompt: bytes, expected: bytes) -> None:
    vocabulary = TableModel.random(0).vocabulary
    decoder = WordDecoder.of(prompt, vocabulary)

    pieces = [decoder.push(token_id) for token_id in (BOS, 3, 4, EOS)]

    assert b"".join(pieces) + decoder.finish() == expected


class Letters(TextDecoder):
    """A decoder whose tokens are bytes."""

    def push(self, token_id: int) -> bytes:
        return bytes([token_id])

    def finish(self) -> bytes:
        return b""


@pytest.mark.parametrize("min_tokens", [0, 1, 3])
def test_a_stop_string_counts_from_the_first_token_beyond_the_least_length(
    min_tokens: int,
) -> None:
    settings = Decoding(min_tokens=min_tokens, max_tokens=9)
    writer = TextWriter(Letters(), StopStrings([b"a"]), settings)

    assert [writer.push(ord("a")) for _ in range(min_tokens)] == ["a"] * min_tokens
    assert not writer.stopped
    assert writer.push(ord("a")) == ""
    assert writer.stopped


def test_a_stop_token_has_no_text() -> None:
    settings = Decoding(stop_token_ids=(ord("b"),), max_tokens=9)
    writer = TextWriter(Letters(), StopStrings([]), settings)

    assert writer.push(ord("a")) + writer.push(ord("b")) + writer.finish() == "a"
