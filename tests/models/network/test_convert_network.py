"""``lmscore-convert`` on networks, run as its users run it."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from lmscore.models.commands.convert_command import command
from lmscore.models.commands.running import run
from lmscore.models.network.checkpoint import read_checkpoint
from tests.models.network.make_checkpoints import ORIGINALS, main, words


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Convert = Callable[..., Done]


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Convert:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # which run replaces

    def call(*arguments: str | Path) -> Done:
        code = run(command, "lmscore-convert", [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


def convert_without(modules: Sequence[str], *arguments: str | Path) -> Done:
    """Run the command in a process of its own, in which modules are not installed."""
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({modules!r})); "
        "from lmscore.models.commands.convert import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoints")
    main(path)
    return path


def test_what_was_found_is_told(convert: Convert, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sample").write_text("w1 w2\n")
    done = convert(
        folder / "fairseq-shared.pt", tmp_path / "out", "--vocabulary", folder / "vocab.txt",
        "--sample", tmp_path / "sample",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes == {(tmp_path / "sample").stat().st_mode & 0o777}  # others may read them too
    lines = done.stdout.splitlines()
    assert lines[0] == f"{tmp_path / 'out'}: written, read again and tried"
    told = {line[:16].rstrip(): line[17:] for line in lines[1:]}
    assert told["source"] == "fairseq's lstm_lm"
    assert told["kind"] == "lstm"
    assert told["layers"] == "embedding 5; 5 -> 7; 7 -> 7"
    assert told["output"] == "a linear layer of 5, then the embedding's weights"
    parameters = 23 * 5 + 28 * (5 + 7 + 2) + 28 * (7 + 7 + 2) + 5 * (7 + 1) + 23
    assert told["parameters"] == f"{parameters:,} of float32"
    assert told["vocabulary"] == (
        f"23 tokens, as many as the embedding has rows, from {folder / 'vocab.txt'} (list)"
    )
    assert told["first tokens"] == "<blank> <unk> w0 w1 w2 w3 w4 w5"
    assert told["special tokens"] == "before a text <eos>, after it <eos>, unknown <unk>"
    assert told["sample"].startswith("3 tokens, 0 of them unknown: perplexity ")
    assert told["likeliest first"].count(",") == 4


def test_json_tells_the_same(convert: Convert, folder: Path, tmp_path: Path) -> None:
    done = convert(
        folder / "words-gru.pt", tmp_path / "out", "--vocabulary", folder / "vocab.txt", "--json",
        "--unk", "w3", "--bos", "w4",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["network"] == {**ORIGINALS["words-gru"].network, "vocabulary_size": 23}
    assert record["vocabulary"]["first"] == words()[:8]
    assert (record["tokenizer"]["unk"], record["tokenizer"]["bos"]) == ("w3", "w4")
    assert record["probability_deviation"] < 1e-3
    assert record["notes"] == []
    vocabulary = read_checkpoint(tmp_path / "out").tokenizer.vocabulary
    assert vocabulary.tokens([vocabulary.bos_id, vocabulary.eos_id]) == ["w4", "<eos>"]


def test_an_activation_that_is_not_told_is_noted(
    convert: Convert, folder: Path, tmp_path: Path
) -> None:
    arguments = (folder / "words-relu.pt", tmp_path / "out", "--vocabulary", folder / "vocab.txt")

    assert "note             taken to use tanh, which" in convert(*arguments).stdout
    done = convert(*arguments, "--force", "--activation", "relu")
    assert "kind             rnn, relu\n" in done.stdout
    assert "note" not in done.stdout


def test_words_of_a_corpus_become_the_vocabulary(
    convert: Convert, folder: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text(" ".join(f"v{i}" for i in range(22)) + "\n")
    done = convert(folder / "awd.pt", tmp_path / "out", "--corpus", text)

    assert done.returncode == 0, done.stderr
    tokens = read_checkpoint(tmp_path / "out").tokenizer.vocabulary.tokens(list(range(23)))
    assert tokens == [*(f"v{i}" for i in range(22)), "<eos>"]
    assert "no token stands for unknown words; --unk TOKEN if one does" in done.stdout


def test_an_empty_sample_fails_and_leaves_nothing(
    convert: Convert, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "sample").write_text("\n\n")
    done = convert(
        folder / "awd.pt", tmp_path / "out", "--vocabulary", folder / "vocab.txt",
        "--sample", tmp_path / "sample",
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == f"lmscore-convert: {tmp_path / 'sample'}: has no text\n"
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


@pytest.mark.parametrize(
    ("name", "content", "start"),
    [("model.pt", b"<html>", "begins with b'<html>'"), ("m.safetensors", b"", "is empty")],
)
def test_what_is_only_named_as_a_network_is_fails_in_a_line(
    convert: Convert, name: str, content: bytes, start: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    done = convert(tmp_path / name, tmp_path / "out")

    assert done.returncode == 1
    assert done.stderr == (
        f"lmscore-convert: {tmp_path / name}: neither a file of torch.save nor of safetensors: "
        f"it {start}\n"
    )


def test_a_whole_model_fails_in_a_line(convert: Convert, folder: Path, tmp_path: Path) -> None:
    torch.save(ORIGINALS["words-gru"].module(), tmp_path / "model.pt")
    done = convert(tmp_path / "model.pt", tmp_path / "out", "--vocabulary", folder / "vocab.txt")

    assert done.returncode == 1
    assert "torch.save(saved.state_dict(), 'model.weights.pt')" in done.stderr
    assert done.stderr.count("\n") == 1


def test_options_that_contradict_are_wrong_usage(
    convert: Convert, folder: Path, tmp_path: Path, tiny_arpa: Path
) -> None:
    network, vocabulary = folder / "words-gru.pt", ("--vocabulary", folder / "vocab.txt")
    out = tmp_path / "out"
    for arguments, problem in (
        ((network, out, *vocabulary, "--corpus", folder), "either --vocabulary or --corpus"),
        ((network, out, *vocabulary, "--codes", tiny_arpa), "belongs to --tokenizer subword-nmt"),
        ((tiny_arpa, out, *vocabulary), f"--vocabulary is for networks, and {tiny_arpa} is not"),
        ((tiny_arpa, out, "--json"), "--json is for networks"),
    ):
        done = convert(*arguments)
        assert (done.returncode, out.exists()) == (2, False)
        assert problem in done.stderr


def test_without_torch_a_network_says_what_to_install(folder: Path, tmp_path: Path) -> None:
    network = folder / "words-gru.pt"
    done = convert_without(["torch"], network, tmp_path / "out")

    assert done.returncode == 1
    assert done.stderr == (
        f"lmscore-convert: {network}: a network needs torch: pip install 'lmscore[server]'\n"
    )


def test_an_ngram_model_needs_no_torch(tiny_arpa: Path, tmp_path: Path) -> None:
    done = convert_without(["torch", "safetensors"], tiny_arpa, tmp_path / "tiny.ngram")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tiny.ngram").exists()
