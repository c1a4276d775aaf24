"""``lmscore-train tokenizer``, and the pieces that it learns."""

from __future__ import annotations

import bz2
import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lmscore.models.commands.train_command import command
from lmscore.models.tokenization.huggingface import HuggingFaceTokenizer
from lmscore.models.tokenization.training import train_bpe, train_unigram
from tests.models.in_process import Done, run_here
from tests.models.tokenization.examples import LINES, ONE_END, ids_of, lines, pieces_of

KINDS = [
    (kind, level) for kind in ("bpe", "unigram") for level in ("--byte-level", "--no-byte-level")
]


def train(*arguments: object, stdin: bytes = b"") -> Done:
    return run_here(command, "lmscore-train", "tokenizer", *arguments, stdin=stdin)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(lines(LINES))
    return path


@pytest.mark.parametrize(("kind", "level"), KINDS)
def test_what_is_learned_splits_and_joins_its_text(
    kind: str, level: str, corpus: Path, tmp_path: Path
) -> None:
    output = tmp_path / "tokenizer.json"

    result = train("--kind", kind, level, "--size", 320, corpus, "--output", output)

    assert result.returncode == 0, result.stderr
    tokenizer = HuggingFaceTokenizer.from_file(output, ONE_END)
    assert len(tokenizer.vocabulary) <= 320
    assert tokenizer.vocabulary.tokens([0, 1]) == ["</s>", "<unk>"]
    for line in LINES[:5]:
        assert tokenizer.decode(ids_of(tokenizer, line)) == line.encode()
    unknown = [row for row in pieces_of(tokenizer, "the 😀") if row[3]]
    assert unknown == ([] if level == "--byte-level" else [("<unk>", 4, 8, True)])
    tokens = sum(len(ids_of(tokenizer, line)) for line in LINES)
    characters = sum(map(len, LINES))
    assert result.stdout.decode() == (
        f"{output}: {len(tokenizer.vocabulary)} pieces, {characters / tokens:.3f} characters a "
        f"token on {characters:,} characters\n"
    )


@pytest.mark.parametrize(("kind", "level"), KINDS)
def test_the_same_text_gives_the_same_file(
    kind: str, level: str, corpus: Path, tmp_path: Path
) -> None:
    """From one file in another process, and from several, compressed and piped."""
    options = ("--kind", kind, level, "--size", 300)
    (tmp_path / "one.gz").write_bytes(gzip.compress(lines(LINES[:20]).encode()))
    (tmp_path / "two").write_bytes(bz2.compress(lines(LINES[20:30]).encode()))

    program = [sys.executable, "-m", "lmscore.models.commands.train", "tokenizer"]
    first = subprocess.run(
        [*program, *map(str, options), corpus, "--output", tmp_path / "1.json"],
        capture_output=True,
        check=True,
        timeout=100,
    )
    second = train(
        *options, tmp_path / "one.gz", tmp_path / "two", "-", "--output", tmp_path / "2.json",
        stdin=lines(LINES[30:]).encode(),
    )  # fmt: skip

    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    assert first.stderr == second.stderr == b""
    assert first.stdout.split(b":")[1] == second.stdout.split(b":")[1]


def test_pieces_that_stand_together_too_rarely_are_not_joined() -> None:
    batches = [["ab ab ab cd"]]

    joined = train_bpe(batches, 100, byte_level=False, least_count=2).get_vocab()
    all_joined = train_bpe(batches, 100, byte_level=False, least_count=1).get_vocab()

    assert "▁ab" in joined
    assert "▁cd" not in joined
    assert "▁cd" in all_joined


def test_pieces_of_a_unigram_model_are_those_that_shorten_the_text() -> None:
    vocabulary = train_unigram([["banana bandana"] * 20], 12, byte_fallback=False).get_vocab()

    assert {"</s>", "<unk>", "▁", "a", "b", "d", "n"} <= vocabulary.keys()
    assert max(map(len, vocabulary.keys() - {"</s>", "<unk>"})) > 2


def test_lines_with_tabs_are_learned_from_as_well() -> None:
    vocabulary = train_unigram([["the\tcat\0x"] * 9], 30, byte_fallback=False).get_vocab()

    assert set("thecax") <= set("".join(vocabulary))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"the\ncat \xff\n", "corpus.txt:2: not UTF-8: invalid start byte"),
        (b"", "corpus.txt: no text to learn from"),
        (b"\n  \n", "corpus.txt: no text to learn from"),
        (None, "corpus.txt: No such file or directory"),
    ],
)
def test_a_bad_corpus_is_named(
    kind: str, content: bytes | None, problem: str, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.txt"
    if content is not None:
        corpus.write_bytes(content)

    result = train("--kind", kind, corpus, "--output", tmp_path / "tokenizer.json")

    assert result.returncode == 1
    assert result.stderr.decode() == f"lmscore-train: {tmp_path}/{problem}\n"
    assert not (tmp_path / "tokenizer.json").exists()


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        (["--size", 100], 2, r"--size 100: there are 256 bytes, </s> and <unk>; give 258 or more"),
        (["--size", 9, "--no-byte-level"], 1,
         r"--size 9: the characters of the text alone need \d+"),
        (["--size", 9, "--no-byte-level", "--kind", "unigram"], 1,
         r"--size 9: the characters of the text alone need \d+"),
        (["--kind", "unigram", "--min-count", 3], 2, "--min-count is for bpe"),
        (["--output", "no/folder/tokenizer.json"], 2, "no/folder: no such folder"),
        (["--output", "."], 2, r"\.: a folder"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_met_say_why(
    options: list[object], code: int, problem: str, corpus: Path
) -> None:
    result = train(corpus, *options)

    assert result.returncode == code
    assert re.match(f"lmscore-train: {problem}", result.stderr.decode())


def test_help_has_examples() -> None:
    result = train("--help")

    assert result.returncode == 0
    assert b"lmscore-train tokenizer news.txt.gz" in result.stdout
