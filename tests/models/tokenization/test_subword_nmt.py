"""subword-nmt: merges applied as its apply_bpe.py applies them."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.errors import ModelFormatError
from lmscore.models.tokenization.subword_nmt import (
    Merges,
    SubwordNmtTokenizer,
    merge,
    read_merges,
)
from lmscore.models.tokenization.tokenizer import NO_ID, SpecialNames
from tests.models.tokenization.examples import ids_of, lines, pieces_of, subword_nmt


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cats", [("the", 0, 3, False), ("cats", 4, 8, False)]),
        ("cat", [("c@@", 0, 1, False), ("at", 1, 3, False)]),
        ("then", [("th@@", 0, 2, False), ("e@@", 2, 3, False), ("<unk>", 3, 4, True)]),
        ("日本\té", [("日@@", 0, 3, False), ("本", 3, 6, False), ("é", 7, 9, False)]),
        ("s <unk>", [("s", 0, 1, False), *(("<unk>", 2 + i, 3 + i, True) for i in range(5))]),
        ("", []),
        (" \n", []),
    ],
)
def test_pieces(text: str, expected: list[tuple[str, int, int, bool]]) -> None:
    assert pieces_of(subword_nmt(), text) == expected


def test_a_vocabulary_without_unk_has_no_id_for_unknown_pieces(tmp_path: Path) -> None:
    (tmp_path / "codes").write_text("#version: 0.2\na b</w>\n")
    (tmp_path / "vocab.txt").write_text("</s>\nab\nb\n")
    tokenizer = SubwordNmtTokenizer.from_files(
        tmp_path / "vocab.txt", tmp_path / "codes", SpecialNames("</s>", "</s>", None)
    )

    assert ids_of(tokenizer, "ab bb") == [1, NO_ID, 2]
    assert tokenizer.decode(ids_of(tokenizer, "ab bb")) == b"ab <unk> b"


def test_joined_pieces_are_words() -> None:
    vocabulary = subword_nmt().vocabulary
    ids = [vocabulary.id(piece) for piece in ("c@@", "at", "the", "th@@")]

    assert subword_nmt().decode(ids) == b"cat the th"


@pytest.mark.parametrize(
    ("codes", "word", "expected"),
    [
        # Version 0.2 marks the last letter, version 0.1 has a symbol for the end.
        ("#version: 0.2\nb c</w>\na b\n", "abc", ["a", "bc"]),
        ("#version: 0.1\nb c\nbc </w>\na b\n", "abc", ["a", "bc"]),
        ("b c\nc </w>\na b\n", "abc", ["a", "bc"]),
        ("a b\nc </w>\n", "abc", ["ab", "c"]),
        # Where a pair is there twice, the first place counts.
        ("#version: 0.2\na b\nb c</w>\na b\n", "abc", ["ab", "c"]),
        # From the left, and never one letter for two pairs.
        ("#version: 0.2\nx x\n", "xxxy", ["xx", "x", "y"]),
        ("#version: 0.2\nx x\nxx xx\n", "xxxxxy", ["xxxx", "x", "y"]),
        ("#version: 0.2\na b\n", "a", ["a"]),
        # One letter is never merged with its end, and shows as it is.
        ("a </w>\n", "a", ["a"]),
    ],
)
def test_merges(codes: str, word: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "codes").write_text(codes)

    assert merge(word, read_merges(tmp_path / "codes")) == expected


@given(
    pairs=st.lists(
        st.tuples(*[st.sampled_from(["a", "b", "ab", "ba", "aa", "b</w>", "a</w>"])] * 2)
    ),
    word=st.text("ab", min_size=1, max_size=12),
)
def test_merges_are_those_of_the_published_algorithm(
    pairs: list[tuple[str, str]], word: str
) -> None:
    merges = Merges({pair: i for i, pair in reversed(list(enumerate(pairs)))}, end_is_symbol=False)

    assert merge(word, merges) == apply_bpe(word, merges.ranks)


def apply_bpe(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """The algorithm in words of the paper: replace the best pair everywhere until none is left."""
    if len(word) == 1:
        return [word]
    text = " " + " ".join(word) + "</w> "
    while True:
        symbols = text.split()
        best = min(
            (p for p in pairwise(symbols) if p in ranks),
            key=ranks.__getitem__,
            default=None,
        )
        if best is None:
            return [*symbols[:-1], symbols[-1].removesuffix("</w>")]
        parts: list[str] = []
        while symbols:
            pair = tuple(symbols[:2])
            parts.append("".join(pair) if pair == best else symbols[0])
            symbols = symbols[2:] if pair == best else symbols[1:]
        text = " ".join(parts)


@pytest.mark.parametrize(
    ("codes", "problem"),
    [
        ("#version: 0.2\na b\nab\n", ':3: "ab": not two symbols and a blank'),
        ("a b c\n", ':1: "a b c": not two symbols and a blank'),
        ("#version: 0.3\na b\n", ":1: version 0.3 of codes is not known"),
        ("#version: 0.2\na b\n\nb a\n", ":3: an empty line"),
        ("", ": an empty file"),
    ],
)
def test_codes_that_are_wrong_are_refused_by_name(codes: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "codes").write_text(codes)
    (tmp_path / "vocab.txt").write_text(lines(["<s>", "</s>", "<unk>"]))

    with pytest.raises(ModelFormatError) as caught:
        SubwordNmtTokenizer.from_files(tmp_path / "vocab.txt", tmp_path / "codes", SpecialNames())

    assert str(caught.value) == f"{tmp_path / 'codes'}{problem}"


def test_a_word_without_end_is_soon_split() -> None:
    letters = [chr(0x4E00 + i) for i in range(60)]
    pairs = [(a, b) for a in letters for b in letters]
    word = "".join(letters[i * i % 3607 % 60] for i in range(100_000))
    merges = Merges({pair: rank for rank, pair in enumerate(pairs)}, end_is_symbol=False)

    began = time.process_time()
    symbols = merge(word, merges)

    assert time.process_time() - began < 20  # going over the word for each merge takes a minute
    assert "".join(symbols) == word
    assert not any(pair in merges.ranks for pair in pairwise(symbols[:-1]))
