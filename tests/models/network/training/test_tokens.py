"""From text to sentences of token ids: what is held out, known, and refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.errors import CorpusError, ModelNotFoundError
from lmscore.models.network.training.settings import TokenSettings
from lmscore.models.network.training.text import TextFile, read_text, split
from lmscore.models.network.training.tokens import Sentences, encode, tokenizer_files
from lmscore.models.tokenization.loading import load_tokenizer


def text_of(*lines: str) -> TextFile:
    return TextFile(Path("some.txt"), [line.encode() for line in lines])


def sentences_of(folder: Path, settings: TokenSettings, *texts: TextFile) -> list[list[str]]:
    """The last text, in the tokens of a tokenizer learned from the first."""
    made = tokenizer_files(settings, texts[:1])
    for name, content in made.files.items():
        (folder / name).write_bytes(content)
    tokenizer = load_tokenizer(folder, made.spec)
    sentences = encode(texts[-1:], tokenizer)
    return [tokenizer.vocabulary.tokens(ids) for ids in as_lists(sentences)]


def as_lists(sentences: Sentences) -> list[list[int]]:
    pairs = zip(sentences.offsets[:-1], sentences.offsets[1:], strict=True)
    return [sentences.ids[begin:end].tolist() for begin, end in pairs]


def test_rare_words_are_unk_in_training(tmp_path: Path) -> None:
    text = text_of("a b a", "b c a")

    sentences = sentences_of(tmp_path, TokenSettings(min_count=2), text)

    assert sentences == [
        ["</s>", "a", "b", "a", "</s>"],
        ["</s>", "b", "<unk>", "a", "</s>"],
    ]


def test_the_most_frequent_words_are_known_where_only_some_may_be(tmp_path: Path) -> None:
    text = text_of("a b b c c c")

    [sentence] = sentences_of(tmp_path, TokenSettings(max_size=2), text)

    assert sentence == ["</s>", "<unk>", "b", "b", "c", "c", "c", "</s>"]


def test_characters_keep_blanks_tabs_and_backslashes(tmp_path: Path) -> None:
    text = text_of("a b\t\\é")

    [sentence] = sentences_of(tmp_path, TokenSettings(type="characters"), text)

    assert sentence == ["</s>", *"a b\t\\é", "</s>"]


def test_bytes_are_their_own_ids(tmp_path: Path) -> None:
    made = tokenizer_files(TokenSettings(type="bytes"), [text_of("é")])

    sentences = encode([text_of("é")], load_tokenizer(tmp_path, made.spec))

    assert as_lists(sentences) == [[256, *"é".encode(), 256]]


def test_blank_lines_are_no_sentences(tmp_path: Path) -> None:
    text = text_of("", "a", "  \t", "b", "")

    sentences = sentences_of(tmp_path, TokenSettings(), text)

    assert sentences == [["</s>", "a", "</s>"], ["</s>", "b", "</s>"]]


def test_events_are_words_and_ends(tmp_path: Path) -> None:
    made = tokenizer_files(TokenSettings(), [text_of("a b", "c")])
    (tmp_path / "vocab.txt").write_bytes(made.files["vocab.txt"])

    assert encode([text_of("a b", "c")], load_tokenizer(tmp_path, made.spec)).events == 5


def test_no_word_that_is_frequent_enough_is_an_error_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"some.txt: no vocabulary: .* 5 times"):
        sentences_of(tmp_path, TokenSettings(min_count=5), text_of("a b"))


def test_a_sentence_mark_in_a_text_is_an_error_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"some.txt:3: </s> within a line"):
        sentences_of(tmp_path, TokenSettings(), text_of("a", "b", "c </s> d"))
    with pytest.raises(CorpusError, match=r"some.txt:2: a sentence mark within a line"):
        sentences_of(tmp_path, TokenSettings(), text_of("a"), text_of("a", "a </s>"))


def test_an_absent_tokenizer_file_is_named(tmp_path: Path) -> None:
    settings = TokenSettings(type="huggingface", file=tmp_path / "absent.json")

    with pytest.raises(ModelNotFoundError, match=r"absent.json: No such file"):
        tokenizer_files(settings, [text_of("a")])


def test_lines_end_with_a_line_feed_or_a_carriage_return_and_one(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"a\r\n\nb c\nlast")

    assert read_text(tmp_path / "x.txt").lines == [b"a", b"", b"b c", b"last"]


@given(st.lists(st.text("abc", max_size=3)), st.sampled_from([0.1, 0.5, 0.9]))
def test_held_out_lines_are_those_of_the_text_and_never_on_both_sides(
    lines: list[str], fraction: float
) -> None:
    text = text_of(*lines)

    kept, held_out = split(text, fraction)

    assert [a + b for a, b in zip(kept.lines, held_out.lines, strict=True)] == text.lines
    assert not set(filter(None, kept.lines)) & set(filter(None, held_out.lines))


def test_about_the_share_asked_for_is_held_out() -> None:
    _, held_out = split(text_of(*map(str, range(10_000))), 0.1)

    assert 900 < held_out.size < 1100  # the standard deviation is 30


def test_the_order_of_lines_does_not_change_what_is_held_out() -> None:
    lines = [*map(str, range(100))]

    first, second = split(text_of(*lines), 0.3)[1], split(text_of(*lines[::-1]), 0.3)[1]

    assert first.lines == second.lines[::-1]
