"""Text that grows token by token is the text that the tokens are together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.tokenization.tokenizer import Tokenizer
from tests.models.tokenization.examples import (
    ALL,
    TEXTS,
    byte_bpe,
    byte_level,
    fallback_bpe,
    ids_of,
    sentencepiece_fallback,
    sentencepiece_unigram,
    subword_nmt,
    wordpiece,
    words,
)

every_tokenizer = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def streamed(tokenizer: Tokenizer, prompt: str, token_ids: list[int]) -> list[bytes]:
    decoder = tokenizer.text_decoder(prompt.encode())
    return [*map(decoder.push, token_ids), decoder.finish()]


def replaced(data: bytes) -> bytes:
    return data.decode(errors="replace").encode()


@every_tokenizer
@given(data=st.data())
def test_any_tokens_are_the_same_text_one_by_one_as_together(
    make: Callable[[], Tokenizer], data: st.DataObject
) -> None:
    tokenizer = make()
    token_ids = data.draw(st.lists(st.integers(0, len(tokenizer.vocabulary) - 1), max_size=60))

    pieces = streamed(tokenizer, "", token_ids)

    assert b"".join(pieces) == replaced(tokenizer.decode(token_ids))
    for piece in pieces:
        assert piece.decode().encode() == piece


@every_tokenizer
@given(texts=TEXTS)
def test_texts_are_the_same_one_by_one_as_together(
    make: Callable[[], Tokenizer], texts: list[str]
) -> None:
    tokenizer = make()
    token_ids = [i for text in texts for i in ids_of(tokenizer, text) if i >= 0]

    assert b"".join(streamed(tokenizer, "", token_ids)) == tokenizer.decode(token_ids)


@every_tokenizer
@given(data=st.data(), prompt=st.lists(st.sampled_from(["the", "cat", "sat", "on"]), min_size=1))
def test_what_follows_a_prompt_is_what_it_adds_to_the_prompt(
    make: Callable[[], Tokenizer], data: st.DataObject, prompt: list[str]
) -> None:
    tokenizer = make()
    prompt_ids = ids_of(tokenizer, " ".join(prompt))
    more = data.draw(st.lists(st.integers(0, len(tokenizer.vocabulary) - 1), max_size=40))

    added = b"".join(streamed(tokenizer, " ".join(prompt), more))

    before = replaced(tokenizer.decode(prompt_ids))
    assert before + added == replaced(tokenizer.decode(prompt_ids + more))


@pytest.mark.parametrize(
    ("make", "prompt", "text", "expected"),
    [
        (words, "", "the cat", [b"the", b" cat"]),
        (words, "the", "cat", [b" cat"]),
        (words, "the ", "cat", [b"cat"]),
        (words, "the\n", "cat </s> sat", [b"cat", b"", b" sat"]),
        (byte_level, "x", "é!", [b"", "é".encode(), b"!"]),
        (fallback_bpe, "the", "ca日", [b" c", b"a", b"", b"", "日".encode()]),
        (subword_nmt, "the", "cats", [b" cats"]),
        (subword_nmt, "the ", "cats", [b"cats"]),
        (subword_nmt, "", "cae", [b"ca", b"e"]),
    ],
)
def test_text_as_it_grows(
    make: Callable[[], Tokenizer], prompt: str, text: str, expected: list[bytes]
) -> None:
    tokenizer = make()
    pushed = streamed(tokenizer, prompt, ids_of(tokenizer, text))

    assert pushed == [*expected, b""]


@pytest.mark.parametrize("make", [sentencepiece_unigram, wordpiece, subword_nmt])
def test_a_blank_that_the_tokenizer_drops_from_the_prompt_is_not_repeated(
    make: Callable[[], Tokenizer],
) -> None:
    tokenizer = make()

    assert b"".join(streamed(tokenizer, "the ", ids_of(tokenizer, "cat sat"))) == b"cat sat"
    assert b"".join(streamed(tokenizer, "the", ids_of(tokenizer, "cat sat"))) == b" cat sat"


@pytest.mark.parametrize("make", [byte_level, fallback_bpe, byte_bpe, sentencepiece_fallback])
def test_a_character_that_is_never_finished_becomes_u_fffd(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    first_bytes = ids_of(tokenizer, "😀")[:-1]

    pushed = streamed(tokenizer, "", first_bytes)

    assert set(pushed[:-1]) == {b""}
    assert set(pushed[-1].decode()) == {"\ufffd"}


def test_the_window_of_a_long_text_stays_short() -> None:
    tokenizer = fallback_bpe()
    decoder = tokenizer.text_decoder(b"")
    token_ids = ids_of(tokenizer, "the cats " * 500)
    sizes = []
    for token_id in token_ids:
        decoder.push(token_id)
        sizes.append(len(decoder._units))  # type: ignore[attr-defined]  # noqa: SLF001

    assert len(token_ids) > 2000
    assert max(sizes) < 20
