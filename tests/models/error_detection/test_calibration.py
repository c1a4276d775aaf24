"""Thresholds learned from text, and the file that keeps them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lmscore.models.commands.eval_command import command
from lmscore.models.commands.train_command import command as train
from lmscore.models.error_detection.calibration import (
    calibrate,
    calibration_path,
    read_calibration,
    write_calibration,
)
from lmscore.models.errors import CorpusError, ModelFormatError, ModelFormatWarning, ParameterError
from lmscore.models.language_model import Texts
from lmscore.models.loading import fingerprint, load_model
from tests.models.in_process import run_here

ln = math.log


def test_quantiles_are_of_the_known_words(tiny_arpa: Path) -> None:
    texts = Texts.from_strings(["a b", "a b", "a", "b", "c"])
    found = calibrate(load_model(tiny_arpa), [texts], 0.8)

    # p(a|<s>) = 0.6 three times, p(b|a) = 0.5 twice, p(b|<s>) = 0.2 once
    assert (found.words, found.oov_words) == (6, 1)
    assert found.quantiles["surprisal"][0.5] == pytest.approx(-ln(0.6), abs=1e-5)
    assert found.threshold("surprisal") == pytest.approx(-ln(0.5), abs=1e-5)
    assert found.quantiles["surprisal"][0.999] == pytest.approx(-ln(0.2), abs=1e-5)


def test_a_text_without_known_words_and_a_quantile_that_is_none_are_refused(
    tiny_arpa: Path,
) -> None:
    model = load_model(tiny_arpa)
    with pytest.raises(CorpusError, match="no word"):
        calibrate(model, [Texts.from_strings(["c d"])])
    with pytest.raises(ParameterError, match="quantile"):
        calibrate(model, [Texts.from_strings(["a"])], 1.0)


def test_what_was_written_is_read_again_for_the_same_model_only(
    tiny_arpa: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.arpa"
    calibration = calibrate(load_model(tiny_arpa), [Texts.from_strings(["a b"])])

    assert read_calibration(model, "abc") is None
    assert write_calibration(model, "abc", calibration) == calibration_path(model)
    assert read_calibration(model, "abc") == calibration
    with pytest.warns(ModelFormatWarning, match="another model"):
        assert read_calibration(model, "def") is None


@pytest.mark.parametrize("content", ["", "[]", '{"format": "other"}', "\x00"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    model = tmp_path / "model.arpa"
    calibration_path(model).write_text(content)

    with pytest.raises(ModelFormatError, match=r"model\.arpa\.calibration\.json"):
        read_calibration(model, "abc")


def test_the_calibration_of_a_network_is_in_its_folder(tmp_path: Path) -> None:
    assert calibration_path(tmp_path) == tmp_path / "calibration.json"


def test_the_command_writes_what_is_read(tmp_path: Path, tiny_arpa: Path) -> None:
    model, text = tmp_path / "tiny.arpa", tmp_path / "dev.txt"
    model.write_bytes(tiny_arpa.read_bytes())
    text.write_text("a b\na b\r\nb c\n")

    done = run_here(
        command, "lmscore-eval", model, text, "--calibrate", "--quantile", 0.5, "--json"
    )
    told = json.loads(done.stdout)
    read = read_calibration(model, fingerprint(model))
    assert read is not None
    assert (told["words"], told["oov_words"], told["quantile"]) == (5, 1, 0.5)
    assert told["surprisal"] == read.threshold("surprisal")
    assert told["surprisal"] == pytest.approx(-ln(0.5), abs=1e-5)


def test_text_that_the_model_was_trained_on_is_warned_of(tmp_path: Path) -> None:
    model = tmp_path / "model.arpa"
    lines = [f"w{i} x{i} y{i} z{i}\n" for i in range(40)]
    (tmp_path / "train.txt").write_text("".join(lines))
    (tmp_path / "other.txt").write_text("".join(f"w{i} x{i + 1} y{i} z{i}\n" for i in range(39)))
    smoothing = ("--smoothing", "witten-bell")
    done = run_here(train, "lmscore-train", "ngram", *smoothing, tmp_path / "train.txt", model)
    assert done.returncode == 0, done.stderr

    def warned(text: str) -> bool:
        done = run_here(command, "lmscore-eval", model, tmp_path / text, "--calibrate")
        assert done.returncode == 0, done.stderr
        return b"as if it was trained on this text" in done.stderr

    assert warned("train.txt")
    assert not warned("other.txt")


def test_a_text_without_a_known_word_is_named(tmp_path: Path, tiny_arpa: Path) -> None:
    (tmp_path / "dev.txt").write_text("unknowable\n")

    done = run_here(command, "lmscore-eval", tiny_arpa, tmp_path / "dev.txt", "--calibrate")
    assert done.returncode == 1
    assert b"dev.txt: there is no word in it that the model knows" in done.stderr


@pytest.mark.parametrize("options", [["--quantile", "0.9"], ["--calibrate", "--per-line"]])
def test_options_that_contradict_are_refused(
    tmp_path: Path, tiny_arpa: Path, options: list[str]
) -> None:
    text = tmp_path / "dev.txt"
    text.write_text("a\n")

    assert run_here(command, "lmscore-eval", tiny_arpa, text, *options).returncode == 2
