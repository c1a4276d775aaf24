"""``lmscore-convert`` on n-gram models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lmscore.models.commands.convert_command import command
from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.models.loading import load_model
from tests.conftest import TINY_ARPA
from tests.models.in_process import Done, run_here


def convert(*arguments: str | Path) -> Done:
    return run_here(command, "lmscore-convert", *arguments)


def test_a_converted_model_scores_the_same(tiny_arpa: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny.ngram"
    program = [sys.executable, "-m", "lmscore.models.commands.convert", str(tiny_arpa), str(target)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{target}: 5 + 3 n-grams, ")
    texts = ScoreBatch(Texts.from_strings(["a b", "b x"]))
    expected = load_model(tiny_arpa).score(texts).log_probs.tolist()
    assert load_model(target).score(texts).log_probs.tolist() == expected


def test_what_was_repaired_is_told_in_a_line(tmp_path: Path) -> None:
    source = tmp_path / "tiny.arpa"
    source.write_text(TINY_ARPA.replace("ngram 2=3", "ngram 2=4"))
    done = convert(source, tmp_path / "tiny.ngram")
    assert done.returncode == 0
    assert done.stderr.decode().startswith(
        f"lmscore-convert: warning: {source}:17: the header announces 4 2-grams"
    )
    assert done.stderr.decode().count("\n") == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "an empty file"),
        ("<html>", ":1: HTML"),
        (TINY_ARPA.partition("-0.30103")[0], "truncated"),
        (TINY_ARPA.replace("-0.69897", "nan"), ":8: 'nan' is not a number"),
    ],
)
def test_what_is_no_model_fails_in_a_line_and_leaves_no_file(
    tmp_path: Path, content: str, problem: str
) -> None:
    source = tmp_path / "bad.arpa"
    source.write_text(content)
    done = convert(source, tmp_path / "bad.ngram")
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"lmscore-convert: {source}")
    assert problem in done.stderr.decode()
    assert done.stderr.decode().count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["bad.arpa"]


def test_a_target_that_cannot_be_written_fails_in_a_line(tiny_arpa: Path, tmp_path: Path) -> None:
    done = convert(tiny_arpa, tmp_path / "none" / "tiny.ngram")
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_wrong_usage_exits_with_2(tiny_arpa: Path, tmp_path: Path) -> None:
    assert convert().returncode == 2
    assert convert(tiny_arpa).returncode == 2
    assert convert(tmp_path / "none.arpa", tmp_path / "x.ngram").returncode == 2
    assert convert(tiny_arpa, tmp_path).returncode == 2


def test_help_shows_examples() -> None:
    shown = convert("--help")
    assert shown.returncode == 0
    assert "lmscore-convert model.arpa.gz models/news/1/model.ngram" in shown.stdout.decode()
