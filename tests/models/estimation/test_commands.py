"""``lmscore-train ngram`` and ``lmscore-eval``."""

from __future__ import annotations

import bz2
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lmscore.models.commands import eval_command, train_command
from lmscore.models.commands.train_ngram import SMOOTHING_NAMES
from lmscore.models.estimation.smoothing import SMOOTHINGS
from lmscore.models.language_model import NgramDescription
from lmscore.models.loading import load_model
from lmscore.models.ngram.arpa import read_arpa
from tests.models.estimation.trained import FIXTURES, SENTENCES, assert_same_entries
from tests.models.in_process import Done, run_here

COMMANDS = {"train": train_command.command, "evaluate": eval_command.command}


def run(module: str, *arguments: object, stdin: bytes = b"") -> Done:
    return run_here(COMMANDS[module], f"lmscore-{module}", *arguments, stdin=stdin)


def train(*arguments: object, stdin: bytes = b"") -> Done:
    return run("train", "ngram", *arguments, stdin=stdin)


def program(module: str, *arguments: object, stdin: bytes = b"") -> Done:
    """The same in a process of its own."""
    command = [sys.executable, "-m", f"lmscore.models.commands.{module}", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=110)
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_model_from_several_corpora_plain_compressed_and_piped(tmp_path: Path) -> None:
    text = SENTENCES.read_bytes()
    lines = text.splitlines(keepends=True)
    (tmp_path / "one.txt.gz").write_bytes(gzip.compress(b"".join(lines[:50])))
    (tmp_path / "two.txt").write_bytes(bz2.compress(b"".join(lines[50:90])))
    target = tmp_path / "model.arpa"

    result = program(
        "train", "ngram", "--order", 3, tmp_path / "one.txt.gz", tmp_path / "two.txt", "-", target,
        stdin=b"".join(lines[90:]),
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert_same_entries(read_arpa(target), read_arpa(FIXTURES / "order3.arpa"), 2e-6)


def test_the_report_as_json(tmp_path: Path) -> None:
    result = train("--json", "--heldout", SENTENCES, SENTENCES, tmp_path / "model.ngram")

    report = json.loads(result.stdout)
    assert report["sentences"] == 150
    assert report["ngrams_kept"] == report["ngrams_seen"] == [43, 304, 777]
    assert len(report["notes"]["discounts"]) == 3
    assert 1 < report["heldout"]["perplexity"] < 43
    assert b"warning: too few 1-grams" in result.stderr


def test_characters_and_subwords(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"the": 0, "x": 1}, "x"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("the é the\n")

    for option, words in (
        (("--tokens", "characters"), {"t", "h", "e", "é", "▁"}),
        (("--tokenizer", tmp_path / "tokenizer.json"), {"the", "x"}),
    ):
        result = train(*option, corpus, tmp_path / "model.arpa")
        assert result.returncode == 0, result.stderr
        found = {word.decode() for word in read_arpa(tmp_path / "model.arpa").words}
        assert found == words | {"<s>", "</s>", "<unk>"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "there is not one word"),
        (b"\n \n", "there is not one word"),
        (b"fine\nnot \xff fine\n", "corpus.txt:2: not UTF-8"),
        (b"fine\n\na <s> b\n", "corpus.txt:3: <s> within a line"),
        (b"\x1f\x8b damaged", "corpus.txt: the compressed data"),
    ],
)
def test_what_is_wrong_with_a_corpus_is_said_in_one_line(
    tmp_path: Path, text: bytes, problem: str
) -> None:
    (tmp_path / "corpus.txt").write_bytes(text)

    result = train(tmp_path / "corpus.txt", tmp_path / "model.arpa")

    assert result.returncode == 1
    assert problem in result.stderr.decode()
    assert result.stderr.count(b"\n") == 1
    assert not (tmp_path / "model.arpa").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--order", "0"], "the order is 0"),
        (["--order", "x"], "not a valid integer"),
        (["--smoothing", "jelinek-mercer"], "held-out"),
        (["--cutoffs", "1,0"], "cut-offs"),
        (["--memory", "much"], "'much' is not a number of bytes"),
        (["--added", "0", "--smoothing", "additive"], "above 0"),
        (["--tokens", "characters", "--tokenizer", str(SENTENCES)], "either"),
        (["--heldout", "none.txt"], "'none.txt' does not exist"),
    ],
)
def test_a_wrong_command_line_is_told_apart(
    tmp_path: Path, arguments: list[str], problem: str
) -> None:
    result = train(*arguments, SENTENCES, tmp_path / "model.arpa")

    assert result.returncode == 2
    assert problem in result.stderr.decode()
    assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("model.txt", b"ends in .arpa, .arpa.gz or .ngram"),
        ("model.ngram.gz", b"ends in .arpa, .arpa.gz or .ngram"),
        ("none/model.arpa", b"none: no such folder"),
    ],
)
def test_a_place_for_no_model_is_refused(tmp_path: Path, name: str, problem: bytes) -> None:
    result = train(SENTENCES, tmp_path / name)

    assert result.returncode == 2
    assert problem in result.stderr


def test_an_order_longer_than_all_sentences_is_lowered(tmp_path: Path) -> None:
    result = train("--order", 20, "-", tmp_path / "model.ngram", stdin=b"one word more\n")

    assert result.returncode == 0, result.stderr
    assert b"warning: no sentence has 20 tokens: the order is 5" in result.stderr
    structure = load_model(tmp_path / "model.ngram").description.structure
    assert isinstance(structure, NgramDescription)
    assert structure.order == 5


def test_little_memory_gives_the_same_file(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_bytes(SENTENCES.read_bytes() * 40)

    reports = []
    for memory in ("1M", "1G"):
        target = tmp_path / f"{memory}.arpa"
        result = train("--memory", memory, "--json", "--order", 4, corpus, target)
        reports.append(json.loads(result.stdout))

    assert [report["on_disk"] for report in reports] == [True, False]
    assert (tmp_path / "1M.arpa").read_bytes() == (tmp_path / "1G.arpa").read_bytes()


def test_figures_of_a_text(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the old boat\nunknowable\n")

    result = run("evaluate", FIXTURES / "order3.arpa", text, "--json")
    rows = program("evaluate", FIXTURES / "order3.arpa", text, "--per-line")

    figures = json.loads(result.stdout)
    assert (figures["lines"], figures["events"], figures["oov_events"]) == (2, 6, 1)
    header, *lines = (line.split("\t") for line in rows.stdout.decode().splitlines())
    column = header.index("log_prob")
    assert sum(float(line[column]) for line in lines) == pytest.approx(figures["log_prob"])
    assert [line[0] for line in lines] == ["1", "2"]


@pytest.mark.parametrize("options", [[], ["--json"], ["--per-line"]])
def test_there_is_no_perplexity_of_nothing(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "empty.txt").touch()

    result = run("evaluate", FIXTURES / "order3.arpa", tmp_path / "empty.txt", *options)
    assert result.returncode == 1
    assert b"empty.txt: there is no text to measure\n" in result.stderr
    assert b"perplexity  " not in result.stdout


def test_blank_lines_have_no_words_to_be_perplexed_by(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\n\n")

    result = run("evaluate", FIXTURES / "order3.arpa", tmp_path / "blank.txt")
    assert result.stdout.decode().splitlines()[-1].endswith("ends of lines   -")


def test_a_model_or_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    for arguments in (
        (tmp_path / "none", SENTENCES),
        (FIXTURES / "order3.arpa", tmp_path / "none"),
    ):
        result = run("evaluate", *arguments)

        assert result.returncode == 1
        assert result.stderr.count(b"\n") == 1
        assert b"none: " in result.stderr


def test_the_smoothings_to_choose_from_are_those_there_are() -> None:
    assert list(SMOOTHING_NAMES) == list(SMOOTHINGS)


@pytest.mark.parametrize("module", ["convert", "train", "evaluate"])
def test_help_loads_nothing_that_takes_long(module: str) -> None:
    heavy = ["numba", "torch", "lmscore.models.loading"]
    names = f"[name for name in {heavy} if name in sys.modules]"
    script = (
        f"import sys, atexit; atexit.register(lambda: print({names}, file=sys.stderr))\n"
        f"sys.argv[1:] = ['--help']\n"
        f"from lmscore.models.commands.{module} import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert done.returncode == 0
    assert b"Usage" in done.stdout
    assert done.stderr.strip() == b"[]"


@pytest.mark.parametrize("missing", ["click", "numba"])
def test_what_is_not_installed_is_named(missing: str) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"sys.argv[1:] = ['ngram', {str(SENTENCES)!r}, 'model.arpa']\n"
        "from lmscore.models.commands.train import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert done.returncode == 1
    assert done.stderr.decode() == f"lmscore-train needs {missing}: pip install 'lmscore[server]'\n"
