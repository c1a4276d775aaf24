"""tokenizer.json: pieces, places in bytes, and unknown ones, beside what the library says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import decoders, models, pre_tokenizers

from lmscore.models.errors import CapabilityError, ModelFormatError, ModelNotFoundError
from lmscore.models.language_model import Texts
from lmscore.models.tokenization.huggingface import HuggingFaceTokenizer
from lmscore.models.tokenization.tokenizer import NO_ID, SpecialNames, Tokenizer
from tests.models.tokenization.examples import (
    ONE_END,
    TEXTS,
    byte_bpe,
    byte_bpe_library,
    fallback_bpe,
    huggingface,
    ids_of,
    metaspace_bpe,
    metaspace_bpe_library,
    pieces_of,
    wordlevel,
    wordpiece,
    wordpiece_library,
)


@pytest.mark.parametrize(
    ("tokenizer", "text", "expected"),
    [
        (byte_bpe(), "the ", [("the", 0, 3, False), ("Ġ", 3, 4, False)]),
        # The bytes of a character are pieces: the last one covers it.
        (byte_bpe(), "a€", [
            ("a", 0, 1, False), ("â", 1, 1, False), ("Ĥ", 1, 1, False), ("¬", 1, 4, False),
        ]),
        (byte_bpe(), "</s>", [(c, i, i + 1, False) for i, c in enumerate("</s>")]),
        (metaspace_bpe(), "the cat", [("▁the", 0, 3, False), ("▁cat", 3, 7, False)]),
        (metaspace_bpe(), "a日😀", [
            ("▁a", 0, 1, False), ("日", 1, 4, False), ("<unk>", 4, 8, True),
        ]),
        # NFKD makes two letters of a ligature.
        (metaspace_bpe(), "ﬁ", [("▁", 0, 0, False), ("f", 0, 0, False), ("i", 0, 3, False)]),
        (fallback_bpe(), "thé", [
            ("▁", 0, 0, False), ("th", 0, 2, False), ("<0xC3>", 2, 2, False),
            ("<0xA9>", 2, 4, False),
        ]),
        (wordpiece(), "The Xat", [("the", 0, 3, False), ("<unk>", 4, 7, True)]),
        (wordlevel(), "the  zebra cat", [
            ("the", 0, 3, False), ("<unk>", 5, 10, True), ("cat", 11, 14, False),
        ]),
        (wordlevel(), "", []),
    ],
)  # fmt: skip
def test_pieces(
    tokenizer: Tokenizer, text: str, expected: list[tuple[str, int, int, bool]]
) -> None:
    assert pieces_of(tokenizer, text) == expected


@pytest.mark.parametrize("library", [byte_bpe_library(), metaspace_bpe_library()])
@given(texts=TEXTS)
def test_ids_and_decoded_text_are_the_librarys(library: LibraryTokenizer, texts: list[str]) -> None:
    library.encode_special_tokens = True
    tokenizer = huggingface(library)
    tokens = tokenizer.encode(Texts.from_strings(texts))

    expected = [library.encode(text, add_special_tokens=False).ids for text in texts]
    assert tokens.token_ids.tolist() == [i for ids in expected for i in ids]
    for ids in expected:
        known = [i for i in ids if i != tokenizer.vocabulary.unk_id]  # which the library can skip
        assert tokenizer.decode(known).decode() == library.decode(known)


@given(text=st.text("the catséü日本, "))
def test_places_in_bytes_are_the_librarys_in_characters(text: str) -> None:
    offsets = wordpiece_library().encode(text, add_special_tokens=False).offsets
    tokens = wordpiece().encode(Texts.from_strings([text]))

    places = zip(tokens.begin_bytes.tolist(), tokens.end_bytes.tolist(), strict=True)
    assert list(places) == [
        (len(text[:first].encode()), len(text[:last].encode())) for first, last in offsets
    ]


def test_characters_that_share_pieces_are_cut_where_a_piece_begins_within_one() -> None:
    """One piece is a character and the first byte of the next, two others the rest."""
    pieces = ["</s>", "æ", "Ĺ", "¥", "¥æ", "Ĺ¥", "æĹ", "æĹ¥æ"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    library = LibraryTokenizer(models.BPE(vocabulary, [("¥", "æ"), ("æ", "Ĺ"), ("æĹ", "¥æ")]))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    tokenizer = huggingface(library, SpecialNames("</s>", "</s>", None))

    assert pieces_of(tokenizer, "日日") == [
        ("æĹ¥æ", 0, 3, False), ("Ĺ", 3, 3, False), ("¥", 3, 6, False),
    ]  # fmt: skip


def test_settings_for_training_do_not_cut_or_pad_texts() -> None:
    library = LibraryTokenizer.from_str(byte_bpe_library().to_str())
    library.enable_truncation(2)
    library.enable_padding(pad_id=0, pad_token="</s>", length=20)  # noqa: S106 a piece of text

    assert len(ids_of(huggingface(library), "the cat sat")) == len(
        ids_of(byte_bpe(), "the cat sat")
    )
    assert ids_of(huggingface(library), "a") == ids_of(byte_bpe(), "a")


def test_the_unknown_piece_is_the_files_own_unless_named() -> None:
    tokenizer = huggingface(metaspace_bpe_library(), SpecialNames("</s>", "</s>", None))

    assert tokenizer.vocabulary.unk_id == tokenizer.vocabulary.id("<unk>")
    assert pieces_of(tokenizer, "a😀")[1] == ("<unk>", 1, 5, True)


def test_a_file_without_unknown_has_no_id_for_it() -> None:
    tokenizer = huggingface(byte_bpe_library(), SpecialNames("</s>", "</s>", None))

    assert tokenizer.vocabulary.unk_id == NO_ID


def test_invalid_bytes_spoil_no_character_beside_them() -> None:
    vocabulary = fallback_bpe().vocabulary
    ids = [vocabulary.id(name) for name in ("<0xC3>", "<0xA9>", "<0xFF>", "th", "<0xE2>")]

    assert fallback_bpe().decode(ids).decode() == "é\ufffdth\ufffd"


def test_ids_without_a_piece_are_empty() -> None:
    vocabulary = {"</s>": 0, "a": 3}
    library = LibraryTokenizer(models.WordLevel(vocabulary, unk_token="</s>"))  # noqa: S106
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = huggingface(library, SpecialNames("</s>", "</s>", None))

    assert tokenizer.vocabulary.tokens([0, 1, 2, 3]) == ["</s>", "", "", "a"]
    assert ids_of(tokenizer, "a a") == [3, 3]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not a tokenizer.json: EOF while parsing a value at line 1 column 0"),
        (b"{}", "not a tokenizer.json: Model missing. at line 1 column 2"),
        (b"\xff", "not a tokenizer.json: 'utf-8' codec can't decode byte 0xff in position 0"),
    ],
)
def test_what_is_no_tokenizer_is_refused_by_name(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)

    with pytest.raises(ModelFormatError) as caught:
        HuggingFaceTokenizer.from_file(path, ONE_END)

    assert str(caught.value).startswith(f"{path}: {problem}")


def test_a_special_token_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(byte_bpe_library().to_str())

    with pytest.raises(ModelFormatError) as caught:
        HuggingFaceTokenizer.from_file(path, SpecialNames("<s>", "</s>", None))

    assert str(caught.value) == f'{path}: no token "<s>"; say which is bos'


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json: no such file"):
        HuggingFaceTokenizer.from_file(tmp_path / "tokenizer.json", ONE_END)


def test_a_missing_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)

    with pytest.raises(CapabilityError, match=r"needs tokenizers: pip install 'lmscore\[server\]'"):
        HuggingFaceTokenizer.from_file(tmp_path / "tokenizer.json", ONE_END)


def test_every_byte_of_utf_8_is_spelled_as_the_library_spells_it() -> None:
    for code in [*range(0x800), *range(0x800, 0xD800, 0x800), *range(0x10000, 0x110000, 0x8000)]:
        ids = ids_of(byte_bpe(), chr(code))
        assert byte_bpe().decode(ids).decode() == chr(code) == byte_bpe_library().decode(ids)
