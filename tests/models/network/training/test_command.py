"""``lmscore-train network`` as a program: trained, killed, taken up, interrupted, and refused."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from lmscore.models.commands.running import run
from lmscore.models.commands.train_network import network
from lmscore.models.network.checkpoint import read_checkpoint
from lmscore.models.network.module import NetworkModule
from lmscore.models.network.training import session

pytestmark = pytest.mark.timeout(600)  # programs that import torch, and trainings
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
TINY = ["--embedding-size", "8", "--hidden-sizes", "12", "--threads", "1", "--device", "cpu"]
WORDS = ["the", "a", "cat", "dog", "mouse", "sees", "hears", "and", "not", "old", "grey", "one"]


def write_text(path: Path, lines: int = 300, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    rows = [" ".join(random.choice(WORDS, random.integers(1, 9))) for _ in range(lines)]
    path.write_text("\n".join(rows) + "\n")
    return path


SLOWLY = """
import sys, time
sys.modules["matplotlib"] = None  # its import would take longer than the run
from lmscore.models.commands.train import main
from lmscore.models.network.training.session import Session

progressed = Session.progressed

def progressed_slowly(session, progress):
    if progress.step > 15:
        time.sleep(0.5)
    progressed(session, progress)

Session.progressed = progressed_slowly
main()
"""
"""The program, which from step 51 on waits: it would be over before it is interrupted."""


def slow_command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", SLOWLY, "network", *map(str, arguments)]


class Here:
    """The command within this process, which is sooner than a program of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def refusal(self, *arguments: object) -> str:
        """The last line of what a command that fails says."""
        self._capsys.readouterr()
        assert run(network, "lmscore-train", [*map(str, arguments)]) in {1, 2}
        said = self._capsys.readouterr()
        assert said.out == ""
        assert "Traceback" not in said.err
        return said.err.splitlines()[-1]

    def result(self, *arguments: object) -> str:
        """What a command that succeeds prints."""
        self._capsys.readouterr()
        assert run(network, "lmscore-train", [*map(str, arguments)]) == 0
        return self._capsys.readouterr().out


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # which run replaces
    return Here(capsys)


def perplexity_of(folder: Path, lines: list[str]) -> float:
    """That of lines, each by itself, token by token from the beginning, in plain PyTorch."""
    checkpoint = read_checkpoint(folder)
    ids = {t: i for i, t in enumerate((folder / "vocab.txt").read_text().splitlines())}
    module = NetworkModule(checkpoint.config)
    module.load_state_dict(checkpoint.tensors)
    module.eval().double()
    total, events = 0.0, 0
    with torch.no_grad():
        for line in lines:
            row = [ids.get(word, ids["<unk>"]) for word in line.split()]
            logits, _ = module(
                torch.tensor([[ids["</s>"], *row]]), module.initial_state(1)
            )  # (1, time, vocabulary)
            log_probs = torch.log_softmax(logits[0], 1)
            following = torch.tensor([*row, ids["</s>"]])
            total += float(log_probs.gather(1, following[:, None]).sum())
            events += len(following)
    return math.exp(-total / events)


@pytest.mark.parametrize("kind", ["feedforward", "rnn", "gru", "lstm"])
def test_a_network_from_text_has_the_perplexity_that_was_told(
    tmp_path: Path, here: Here, kind: str
) -> None:
    text = write_text(tmp_path / "text.txt")
    (tmp_path / "text.txt.gz").write_bytes(gzip.compress(text.read_bytes()))
    folder = tmp_path / "model"

    result = here.result(
        *TINY, "--kind", kind, "--epochs", 3, "--valid-fraction", 0.2, "--min-count", 2,
        "--json", "-o", folder, tmp_path / "text.txt.gz",
    )  # fmt: skip

    summary = json.loads(result)
    held_out = (folder / "training/held-out.txt").read_text().splitlines()
    assert set(held_out) < set(text.read_text().splitlines())
    assert summary["kind"] == read_checkpoint(folder).config.kind == kind
    assert summary["finished"] is True
    assert summary["valid_perplexity"] < len(WORDS) + 2
    assert perplexity_of(folder, held_out) == pytest.approx(summary["valid_perplexity"], rel=1e-4)
    with (folder / "training/log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3]
    assert float(rows[-1]["valid_perplexity"]) == pytest.approx(
        math.exp(float(rows[-1]["valid_loss"])), rel=1e-4
    )
    assert (folder / "training/perplexity.png").read_bytes().startswith(b"\x89PNG")


def test_a_text_that_runs_on_also_tells_how_single_lines_are_scored(
    tmp_path: Path, here: Here
) -> None:
    valid = write_text(tmp_path / "valid.txt", 40, seed=1)
    folder = tmp_path / "model"

    result = here.result(
        *TINY, "--mode", "continuous", "--batch-size", 4, "--epochs", 2, "--valid", valid, "--json",
        "-o", folder, write_text(tmp_path / "text.txt"),
    )  # fmt: skip

    told = json.loads(result)["valid_perplexity_by_sentence"]
    lines = valid.read_text().splitlines()
    assert perplexity_of(folder, lines) == pytest.approx(told, rel=1e-4)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are beside the point: drawing them takes longer than the training."""
    monkeypatch.setattr(session, "as_picture", lambda _: None)


def long_run(tmp_path: Path, name: str) -> list[object]:
    text = tmp_path / "text.txt"
    if not text.exists():
        write_text(text, 80)
    return [
        *TINY, "--dropout", 0.2, "--epochs", 3, "--batch-size", 4, "--set",
        "run.save_seconds=0.05", "--set", "training.evaluate_every=12", "-o",
        tmp_path / name, text,
    ]  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.01)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_killed_and_resumed_ends_with_the_very_weights_of_one_that_was_not(
    tmp_path: Path, here: Here
) -> None:
    here.result(*long_run(tmp_path, "whole"))
    folder = tmp_path / "killed"
    process = subprocess.Popen(slow_command(*long_run(tmp_path, "killed")), env=ENVIRONMENT)
    wait_for(folder / "training/log.csv", process)
    process.kill()
    assert process.wait() == -signal.SIGKILL

    here.result("--resume", "-o", folder)

    assert (folder / "model.safetensors").read_bytes() == (
        tmp_path / "whole/model.safetensors"
    ).read_bytes()
    last = [
        torch.load(tmp_path / name / "training/snapshot.pt", weights_only=True)
        for name in ("whole", "killed")
    ]
    assert last[0]["position"]["step"] == last[1]["position"]["step"]
    assert all(last[1]["weights"][name].equal(t) for name, t in last[0]["weights"].items())
    logs = [
        [
            line.rpartition(",")[0]  # without the seconds
            for line in (tmp_path / name / "training/log.csv").read_text().splitlines()
        ]
        for name in ("whole", "killed")
    ]
    assert logs[0] == logs[1]
    assert len(logs[0]) > 3


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_saved_and_says_how_to_go_on(
    tmp_path: Path, here: Here, number: signal.Signals, code: int
) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        slow_command(*long_run(tmp_path, "run")), env=ENVIRONMENT, stderr=subprocess.PIPE
    )
    wait_for(folder / "training/snapshot.pt", process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=500)

    assert process.returncode == code
    assert f"lmscore-train network --resume -o {folder}".encode() in errors
    here.result("--resume", "-o", folder)
    here.result("--resume", "-o", folder)  # which has nothing left to do


def test_a_loss_that_is_no_number_is_told_in_one_line(tmp_path: Path, here: Here) -> None:
    message = here.refusal(
        *TINY, "--kind", "rnn", "--set", "network.activation=relu", "--set",
        "training.optimizer=sgd", "--set", "training.clip_norm=none", "--learning-rate", 1e30,
        "-o", tmp_path / "model", write_text(tmp_path / "text.txt"),
    )  # fmt: skip

    assert "training.learning_rate" in message


def test_what_cannot_be_trained_on_is_refused_with_its_name(tmp_path: Path, here: Here) -> None:
    text = write_text(tmp_path / "text.txt", 20)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    output = ["-o", tmp_path / "model"]

    assert "empty.txt: no vocabulary" in here.refusal(*output, empty, "--valid", text)
    assert "empty.txt: no text to measure on" in here.refusal(*output, text, "--valid", empty)
    assert "absent.txt: no such file" in here.refusal(*output, tmp_path / "absent.txt")
    assert "text.txt: no line to measure on is left" in here.refusal(
        *output, text, "--valid-fraction", 1e-9
    )
    assert "text.txt: no vocabulary" in here.refusal(*output, text, "--min-count", 1000)


def test_a_refused_text_leaves_no_folder_behind(tmp_path: Path, here: Here) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "mine").mkdir()

    for folder in ("new", "mine"):
        refusal = here.refusal(*TINY, "-o", tmp_path / folder, tmp_path / "empty.txt")
        assert "empty.txt: no text to train on" in refusal
    assert not (tmp_path / "new").exists()
    assert not list((tmp_path / "mine").iterdir())


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path, here: Here) -> None:
    text = write_text(tmp_path / "text.txt", 20)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")

    assert "holds a model or a run already" in here.refusal("-o", tmp_path / "model", text)
    assert "text.txt: not a folder" in here.refusal("-o", text, text)
    assert "no run to resume" in here.refusal("--resume", "-o", tmp_path / "model")
    assert "cannot be made" in here.refusal("-o", "/proc/nothing/here", text)


def test_a_full_disk_is_told_of(tmp_path: Path, here: Here) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    folder = tmp_path / "model"
    (folder / "training").mkdir(parents=True)
    (folder / "training/snapshot.pt.new").symlink_to("/dev/full")

    message = here.refusal(
        *TINY, "--epochs", 1, "-o", folder, write_text(tmp_path / "text.txt", 20)
    )

    assert "snapshot.pt: cannot be written: No space left on device" in message


def test_a_resumed_run_keeps_its_text_and_settings(tmp_path: Path, here: Here) -> None:
    text = write_text(tmp_path / "text.txt", 40)
    folder = tmp_path / "model"
    here.result(*TINY, "--epochs", 1, "-o", folder, text)

    assert "--resume takes --device, --epochs, --threads" in here.refusal(
        "--resume", "-o", folder, "--kind", "gru"
    )
    more = here.result("--resume", "-o", folder, "--epochs", 2, "--json")
    assert json.loads(more)["epochs"] == 2
    write_text(text, 40, seed=5)
    assert "the text or its tokenizer is not what the run began with" in here.refusal(
        "--resume", "-o", folder
    )


def test_wrong_flags_are_named(tmp_path: Path, here: Here) -> None:
    assert "command line: training.epochs: 0 is less than 1" in here.refusal(
        "--epochs", 0, "-o", "x"
    )
    assert "command line: run.sed is no setting" in here.refusal("--set", "run.sed=1", "-o", "x")
    assert "--set seed: not SECTION.KEY=VALUE" in here.refusal("--set", "seed", "-o", "x")
    assert "name a folder for the model with --output" in here.refusal(tmp_path / "x")
    assert "name files to train on" in here.refusal("-o", tmp_path / "x")
    assert "absent.toml" in here.refusal("--config", tmp_path / "absent.toml", "-o", "x")


def test_the_settings_shown_can_be_given_back(tmp_path: Path, here: Here) -> None:
    shown = here.result("--preset", "char-small", "--kind", "gru", "--print-config")
    (tmp_path / "my.toml").write_text(shown)

    assert 'kind = "gru"' in shown
    assert here.result("--config", tmp_path / "my.toml", "--print-config") == shown


def test_help_lists_the_presets_and_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from lmscore.models.commands import train\n"
        "sys.argv = ['lmscore-train', 'network', '--help']; train.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, env=ENVIRONMENT, text=True
    )

    assert result.returncode == 0, result.stderr
    for name in ("char-small", "char-medium", "word-small", "word-medium", "subword-small"):
        assert name in result.stdout
