"""Words, characters and bytes: what they split a text into, and vocab.txt."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmscore.models.errors import ModelError, ModelFormatError, ModelNotFoundError
from lmscore.models.tokenization.characters import CharacterTokenizer
from lmscore.models.tokenization.tokenizer import NO_ID, SpecialNames
from lmscore.models.tokenization.words import WordTokenizer
from tests.models.tokenization.examples import byte_level, characters, ids_of, pieces_of, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cat", [("the", 0, 3, False), ("cat", 4, 7, False)]),
        ("\tthe\0\0cat\r\n", [("the", 1, 4, False), ("cat", 6, 9, False)]),
        ("über 日本語", [("über", 0, 5, False), ("日本語", 6, 15, False)]),
        ("the\u00a0cat", [("<unk>", 0, 8, True)]),
        ("<s> </s> <unk>", [("<unk>", 0, 3, True), ("</s>", 4, 8, False), ("<unk>", 9, 14, True)]),
        ("", []),
        (" \n", []),
    ],
)
def test_words(text: str, expected: list[tuple[str, int, int, bool]]) -> None:
    assert pieces_of(words(), text) == expected


def test_an_unknown_word_is_shown_as_such() -> None:
    assert words().decode(ids_of(words(), "the  zebra sat")) == b"the <unk> sat"


def test_a_vocabulary_without_unk_has_no_id_for_unknown_words(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("<eos>\nthe")
    tokenizer = WordTokenizer.from_file(path, SpecialNames("<eos>", "<eos>", None))

    assert pieces_of(tokenizer, "the cat <eos>") == [
        ("the", 0, 3, False),
        ("", 4, 7, True),
        ("<eos>", 8, 13, False),
    ]
    assert ids_of(tokenizer, "the cat") == [1, NO_ID]
    assert tokenizer.vocabulary.unk_id == NO_ID


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("é a", [("é", 0, 2, False), (" ", 2, 3, False), ("a", 3, 4, False)]),
        ("日😀\n", [("日", 0, 3, False), ("<unk>", 3, 7, True), ("\n", 7, 8, False)]),
        ("\\\t", [("\\", 0, 1, False), ("<unk>", 1, 2, True)]),
        ("e\u0301", [("e", 0, 1, False), ("<unk>", 1, 3, True)]),
        ("", []),
    ],
)
def test_characters(text: str, expected: list[tuple[str, int, int, bool]]) -> None:
    assert pieces_of(characters(), text) == expected


def test_an_unknown_character_is_shown_as_u_fffd() -> None:
    assert characters().decode(ids_of(characters(), "a😀é")).decode() == "a\ufffdé"


def test_a_line_feed_can_be_the_end_of_a_text_and_within_it(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\\n\na\n \n")
    tokenizer = CharacterTokenizer.from_file(path, SpecialNames("\n", "\n", None))

    assert ids_of(tokenizer, "a \nb") == [1, 2, 0, NO_ID]


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"<s>\r\n</s>\r\n<unk>\r\n \r\n")
    tokenizer = CharacterTokenizer.from_file(path, SpecialNames())

    assert ids_of(tokenizer, " \r") == [3, 2]


def test_bytes_are_shown_as_what_they_are() -> None:
    assert pieces_of(byte_level(), "a é\n") == [
        ("a", 0, 1, False),
        (" ", 1, 2, False),
        ("<0xC3>", 2, 3, False),
        ("<0xA9>", 3, 4, False),
        ("<0x0A>", 4, 5, False),
    ]
    assert (byte_level().vocabulary.bos_id, byte_level().vocabulary.eos_id) == (256, 256)
    assert len(byte_level().vocabulary) == 257


@pytest.mark.parametrize(
    ("load", "content", "problem"),
    [
        (WordTokenizer, b"<s>\n</s>\n<unk>\na\nb\na\n", ':6: "a" is already on line 4'),
        (WordTokenizer, b"<s>\n</s>\n\n<unk>\n", ":3: an empty line"),
        (WordTokenizer, b"<s>\n</s>\n<unk>\na b\n", ':4: "a b": a word with a separator in it'),
        (WordTokenizer, b"<s>\n</s>\n\xff\n", ":3: not UTF-8: invalid start byte"),
        (WordTokenizer, b"", ": an empty file"),
        (WordTokenizer, b"<s>\na\n<unk>\n", ': no token "</s>"; say which is eos'),
        (
            WordTokenizer,
            b"<s>\n</s>\n",
            ': no token "<unk>"; say which is unk, or null where there is none',
        ),
        (
            CharacterTokenizer,
            b"<s>\n</s>\n<unk>\nab\n",
            ':4: "ab": neither one character nor bos, eos or unk',
        ),
        (CharacterTokenizer, b"<s>\n</s>\n<unk>\n\\\\\n\\\n", ':5: "\\" is already on line 4'),
    ],
)
def test_a_vocabulary_that_is_wrong_is_refused_by_name(
    load: type[WordTokenizer | CharacterTokenizer], content: bytes, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)

    with pytest.raises(ModelFormatError) as caught:
        load.from_file(path, SpecialNames())

    assert str(caught.value) == f"{path}{problem}"


@pytest.mark.parametrize("load", [WordTokenizer, CharacterTokenizer])
def test_a_missing_vocabulary_is_named(
    load: type[WordTokenizer | CharacterTokenizer], tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFoundError, match=r"vocab\.txt: no such file"):
        load.from_file(tmp_path / "vocab.txt", SpecialNames())
    with pytest.raises(ModelError, match="Is a directory"):
        load.from_file(tmp_path, SpecialNames())
