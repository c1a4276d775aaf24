"""SentencePiece models: pieces and their places in bytes, beside what the library says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given

from lmscore.models.errors import CapabilityError, ModelFormatError, ModelNotFoundError
from lmscore.models.language_model import Texts
from lmscore.models.tokenization.sentencepiece_model import SentencePieceTokenizer
from lmscore.models.tokenization.tokenizer import SpecialNames, Tokenizer
from tests.models.tokenization.examples import (
    TEXTS,
    pieces_of,
    sentencepiece_fallback,
    sentencepiece_model,
    sentencepiece_unigram,
)


@pytest.mark.parametrize(
    ("make", "text", "expected"),
    [
        (sentencepiece_unigram, "the  cat", [
            ("▁the", 0, 3, False), ("▁cat", 3, 8, False),
        ]),
        (sentencepiece_unigram, "日😀é", [
            ("▁", 0, 0, False), ("日", 0, 3, False), ("<unk>", 3, 7, True), ("é", 7, 9, False),
        ]),
        (sentencepiece_fallback, "a€", [
            ("▁a", 0, 1, False), ("<0xE2>", 1, 1, False), ("<0x82>", 1, 1, False),
            ("<0xAC>", 1, 4, False),
        ]),
        (sentencepiece_unigram, "", []),
        (sentencepiece_unigram, " ", []),
    ],
)  # fmt: skip
def test_pieces(
    make: Callable[[], Tokenizer], text: str, expected: list[tuple[str, int, int, bool]]
) -> None:
    assert pieces_of(make(), text) == expected


@given(texts=TEXTS)
def test_ids_places_and_decoded_text_are_the_librarys(texts: list[str]) -> None:
    tokenizer = sentencepiece_unigram()
    library = _library()
    tokens = tokenizer.encode(Texts.from_strings(texts))

    expected = [library.encode(text, out_type="offset_mapping") for text in texts]
    assert tokens.token_ids.tolist() == [i for item in expected for i in item["ids"]]
    places = [
        (len(text[:first].encode()), len(text[:last].encode()))
        for text, item in zip(texts, expected, strict=True)
        for first, last in item["offsets"]
    ]
    found = zip(tokens.begin_bytes.tolist(), tokens.end_bytes.tolist(), strict=True)
    assert list(found) == places
    for item in expected:
        assert tokenizer.decode(item["ids"]).decode() == library.decode(item["ids"])


def test_a_piece_that_marks_a_text_is_not_found_in_one() -> None:
    tokens = pieces_of(sentencepiece_unigram(), "</s><s>")

    assert {name for name, *_ in tokens}.isdisjoint({"<s>", "</s>"})


def test_the_unknown_piece_is_the_models_own_unless_named(tmp_path: Path) -> None:
    path = tmp_path / "spm.model"
    path.write_bytes(sentencepiece_model(vocab_size=80))
    tokenizer = SentencePieceTokenizer.from_file(path, SpecialNames(unk=None))

    assert tokenizer.vocabulary.token(tokenizer.vocabulary.unk_id) == "<unk>"
    assert pieces_of(tokenizer, "😀")[-1] == ("<unk>", 0, 4, True)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x0a\x05abc", b"<html>"])
def test_what_is_no_model_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "spm.model"
    path.write_bytes(content)

    with pytest.raises(ModelFormatError) as caught:
        SentencePieceTokenizer.from_file(path, SpecialNames())

    assert str(caught.value) == f"{path}: not a SentencePiece model"


def test_a_special_token_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "spm.model"
    path.write_bytes(sentencepiece_model(vocab_size=80))

    with pytest.raises(ModelFormatError) as caught:
        SentencePieceTokenizer.from_file(path, SpecialNames(eos="<eos>"))

    assert str(caught.value) == f'{path}: no token "<eos>"; say which is eos'


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"spm\.model: no such file"):
        SentencePieceTokenizer.from_file(tmp_path / "spm.model", SpecialNames())


def test_a_missing_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)

    with pytest.raises(CapabilityError, match="needs sentencepiece: pip install 'lmscore"):
        SentencePieceTokenizer.from_file(tmp_path / "spm.model", SpecialNames())


def _library() -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(
        model_proto=sentencepiece_model(vocab_size=80, model_type="unigram")
    )
