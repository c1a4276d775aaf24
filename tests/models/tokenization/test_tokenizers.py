"""What holds for every tokenizer, whatever the text."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.language_model import Texts
from lmscore.models.tokenization.tokenizer import NO_ID, Tokenizer
from tests.models.tokenization.examples import (
    ALL,
    TEXTS,
    byte_bpe,
    byte_level,
    characters,
    fallback_bpe,
    ids_of,
    metaspace_bpe,
    sentencepiece_fallback,
    span,
    subword_nmt,
    unigram,
    words,
)

every_tokenizer = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


@every_tokenizer
@given(texts=TEXTS)
def test_tokens_follow_each_other_within_their_text(
    make: Callable[[], Tokenizer], texts: list[str]
) -> None:
    tokens = make().encode(Texts.from_strings(texts))

    assert len(tokens.offsets) == len(texts) + 1
    assert tokens.offsets[0] == 0
    assert tokens.offsets[-1] == len(tokens.token_ids) == len(tokens.oov)
    for item, text in enumerate(texts):
        part = span(tokens, item)
        begins, ends = tokens.begin_bytes[part], tokens.end_bytes[part]
        edges = np.stack((begins, ends), axis=1).ravel()
        assert (np.diff(edges) >= 0).all()
        assert not edges.size or (edges[0] >= 0 and edges[-1] <= len(text.encode()))


@every_tokenizer
@given(texts=TEXTS)
def test_tokens_do_not_depend_on_the_other_texts(
    make: Callable[[], Tokenizer], texts: list[str]
) -> None:
    tokenizer = make()
    together = tokenizer.encode(Texts.from_strings(texts))

    for item, text in enumerate(texts):
        alone = tokenizer.encode(Texts.from_strings([text]))
        part = span(together, item)
        for name in ("token_ids", "begin_bytes", "end_bytes", "oov"):
            assert getattr(alone, name).tolist() == getattr(together, name)[part].tolist()


@every_tokenizer
@given(texts=TEXTS)
def test_arrays_have_the_types_that_models_expect(
    make: Callable[[], Tokenizer], texts: list[str]
) -> None:
    tokens = make().encode(Texts.from_strings(texts))

    for name in ("offsets", "token_ids", "begin_bytes", "end_bytes"):
        assert getattr(tokens, name).dtype == np.int64
    assert tokens.oov.dtype == np.bool_


@every_tokenizer
@given(texts=TEXTS)
def test_only_an_unknown_token_may_have_the_id_of_unk(
    make: Callable[[], Tokenizer], texts: list[str]
) -> None:
    tokenizer = make()
    tokens = tokenizer.encode(Texts.from_strings(texts))

    assert (tokens.token_ids < len(tokenizer.vocabulary)).all()
    assert (tokens.token_ids >= NO_ID).all()
    assert (tokens.oov == (tokens.token_ids == tokenizer.vocabulary.unk_id)).all()
    assert (tokens.token_ids != tokenizer.vocabulary.bos_id).all() or (
        tokenizer.vocabulary.bos_id == tokenizer.vocabulary.eos_id
    )


@every_tokenizer
def test_special_tokens_have_no_text(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    vocabulary = tokenizer.vocabulary
    inner = ids_of(tokenizer, "the cat")

    assert tokenizer.decode([vocabulary.bos_id, *inner, vocabulary.eos_id]) == tokenizer.decode(
        inner
    )
    assert tokenizer.decode([vocabulary.bos_id]) == tokenizer.decode([]) == b""


@every_tokenizer
def test_an_id_that_is_not_there_is_an_index_error(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()

    with pytest.raises(IndexError):
        tokenizer.decode([len(tokenizer.vocabulary)])
    with pytest.raises(IndexError):
        tokenizer.vocabulary.token(len(tokenizer.vocabulary))


@every_tokenizer
@pytest.mark.parametrize("text", ["the cat sat", "the", ""])
def test_known_text_comes_back(make: Callable[[], Tokenizer], text: str) -> None:
    tokenizer = make()

    assert tokenizer.decode(ids_of(tokenizer, text)) == text.encode()


@pytest.mark.parametrize("make", [byte_level, byte_bpe, fallback_bpe, sentencepiece_fallback])
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁")))
def test_what_knows_all_bytes_brings_back_any_text(
    make: Callable[[], Tokenizer], text: str
) -> None:
    tokenizer = make()

    assert tokenizer.decode(ids_of(tokenizer, text)) == text.encode()


@given(texts=TEXTS)
def test_places_of_words_are_those_of_the_words(texts: list[str]) -> None:
    tokens = words().encode(Texts.from_strings(texts))

    for item, text in enumerate(texts):
        part = span(tokens, item)
        places = zip(tokens.begin_bytes[part], tokens.end_bytes[part], strict=True)
        found = [text.encode()[begin:end].decode() for begin, end in places]
        assert found == [word for word in re.split("[\\0\\t\\n\\r ]", text) if word]


@pytest.mark.parametrize(
    "make", [characters, byte_level, byte_bpe, unigram, metaspace_bpe, subword_nmt]
)
@given(text=st.text("thecas日é "))
def test_tokens_cover_all_but_separators(make: Callable[[], Tokenizer], text: str) -> None:
    tokens = make().encode(Texts.from_strings([text]))
    covered = np.zeros(len(text.encode()), np.bool_)
    for begin, end in zip(tokens.begin_bytes, tokens.end_bytes, strict=True):
        covered[begin:end] = True

    left = np.frombuffer(text.encode(), np.uint8)[~covered]
    assert set(left.tobytes()) <= {0x20}
