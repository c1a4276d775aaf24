"""A network in a folder, served on a real port, and what keeps one from being served."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor, nn

from lmscore.client import Client, Hypothesis, NBestList
from lmscore.models.errors import ModelFormatError, ModelNotFoundError
from lmscore.models.loading import fingerprint, load_model
from lmscore.server import logs
from lmscore.server.building import build
from lmscore.server.model_source import ModelSource
from lmscore.server.stages import StartError
from tests.server.character_network import CHARACTERS, CPU, random_tensors, write
from tests.server.harness import (
    command_here,
    running_on_a_thread,
    settings_for,
)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return random_tensors()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Tensor]) -> Path:
    return write(tmp_path_factory.mktemp("network") / "lstm", tensors)


def log_probs_after(tensors: dict[str, Tensor], text: str) -> Tensor:
    """The distributions after `</s>` and each character, by torch.nn: (characters + 1, tokens)."""
    ids = [0, *(CHARACTERS.index(character) for character in text)]
    hidden = tensors["embedding.weight"][ids]
    for i, (inputs, units) in enumerate(((8, 12), (12, 10))):
        layer = nn.LSTM(inputs, units)
        prefix = f"layers.{i}."
        layer.load_state_dict(
            {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        )
        hidden = layer(hidden)[0]
    logits = hidden @ tensors["output.weight"].T + tensors["output.bias"]
    return torch.log_softmax(logits, -1).detach()


def log_prob(tensors: dict[str, Tensor], text: str, context: str = "") -> float:
    rows = log_probs_after(tensors, context + text)[len(context) :]
    events = [*(CHARACTERS.index(character) for character in text), 0]
    return float(sum(row[event].item() for row, event in zip(rows, events, strict=True)))


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    models = (ModelSource(name="net", path=folder),)
    settings = settings_for(folder, model=models, device="cpu", dtype="float32", threads=1)
    with running_on_a_thread(settings) as address, Client(address, model="net") as connected:
        yield connected


def test_scores_are_those_of_plain_pytorch(client: Client, tensors: dict[str, Tensor]) -> None:
    texts = ["the cat", "", "über the moon", "the cat sat", "the cat"]

    scores = client.score(texts)
    assert [s.log_prob for s in scores] == pytest.approx(
        [log_prob(tensors, text) for text in texts], abs=1e-4
    )
    assert [s.token_count for s in scores] == [len(text) + 1 for text in texts]
    (after,) = client.score(["cat"], context="the ")
    assert after.log_prob == pytest.approx(log_prob(tensors, "cat", "the "), abs=1e-4)


def test_predictions_are_the_distribution_of_plain_pytorch(
    client: Client, tensors: dict[str, Tensor]
) -> None:
    (predicted,) = client.predict(["the c"], top_k=1000)

    expected = log_probs_after(tensors, "the c")[-1]
    by_id = {token.id: token.log_prob for token in predicted.next}
    assert sorted(by_id) == list(range(len(CHARACTERS)))
    assert [by_id[i] for i in range(len(by_id))] == pytest.approx(expected.tolist(), abs=1e-4)
    assert predicted.entropy == pytest.approx(-(expected.exp() * expected).sum().item(), abs=1e-4)


def test_details_and_words_belong_to_the_same_scores(
    client: Client, tensors: dict[str, Tensor]
) -> None:
    (score,) = client.score(["the üx"], alternatives=2, words=True)

    rows = log_probs_after(tensors, "the üx")
    ids = [token.id for token in score.tokens]
    assert [CHARACTERS[i] for i in ids] == [*"the üx", "</s>"]
    ranks = [1 + int((row > row[i]).sum()) for row, i in zip(rows, ids, strict=True)]
    assert [token.rank for token in score.tokens] == ranks
    assert [word.text for word in score.words] == ["the", "üx", "</s>"]
    assert [word.token_count for word in score.words] == [3, 3, 1]
    assert sum(word.log_prob for word in score.words) == pytest.approx(score.log_prob)


def test_small_requests_of_a_stream_give_what_one_large_request_gives(client: Client) -> None:
    texts = [f"text {'abcdefgh'[i % 8]} {'xyz'[i % 3]}" for i in range(200)]

    (together,) = [client.score(texts)]
    streamed = [
        score
        for answer in client.score_stream(texts, batch_texts=1, max_in_flight=32)
        for score in answer
    ]
    assert [s.log_prob for s in streamed] == pytest.approx([s.log_prob for s in together], abs=1e-4)


def test_hypotheses_are_ranked_by_the_network(client: Client, tensors: dict[str, Tensor]) -> None:
    texts = ["a cat", "the cat", "cat"]
    (ranked,) = client.rescore(
        [NBestList("x", [Hypothesis(text) for text in texts], context="so ")]
    )

    expected = [log_prob(tensors, text, "so ") for text in texts]
    assert ranked.log_probs == pytest.approx(expected, abs=1e-4)
    assert list(ranked.rankings[0].order) == np.argsort([-each for each in expected]).tolist()


def test_the_network_is_described_and_identified(client: Client, folder: Path) -> None:
    model = client.get_model()

    assert (model.kind, model.tokenizer, model.vocabulary_size) == ("lstm", "characters", 29)
    assert model.network is not None
    assert model.network.hidden_sizes == (12, 10)
    assert (model.network.device, model.network.dtype) == ("cpu", "float32")
    assert model.identity.fingerprint == fingerprint(folder)


# --- folders ---


def test_a_fingerprint_is_what_sha256sum_gives(folder: Path) -> None:
    (folder / "README.md").write_text("not part of the model")
    names = ["config.json", "model.safetensors", "vocab.txt"]
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names
    ]

    assert fingerprint(folder) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_any_change_of_the_model_changes_its_fingerprint(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    found = [fingerprint(write(tmp_path / "a", tensors))]
    found.append(fingerprint(write(tmp_path / "b", tensors)))
    changed = {**tensors, "output.bias": tensors["output.bias"] + 1}
    found.append(fingerprint(write(tmp_path / "a", changed)))
    vocabulary = tmp_path / "b" / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text().replace("z", "ß"))
    found.append(fingerprint(tmp_path / "b"))

    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_folder_that_is_no_network_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"without a config\.json"):
        load_model(tmp_path)


@pytest.mark.filterwarnings("ignore:(invalid value|overflow):RuntimeWarning")
@pytest.mark.parametrize("size", [1e38, 3e38])
def test_a_network_whose_scores_are_no_numbers_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], size: float
) -> None:
    huge = {**tensors, "output.weight": torch.full_like(tensors["output.weight"], size)}
    huge["output.weight"][::2] *= -1

    with pytest.raises(ModelFormatError, match=r"damaged, or too large"):
        load_model(write(tmp_path / "huge", huge), placement=CPU)


# --- starting ---


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
async def test_cuda_where_there_is_none_is_told_whatever_is_to_be_served(
    folder: Path, tiny_arpa: Path, device: str
) -> None:
    for path in (folder, tiny_arpa):
        with pytest.raises(StartError, match="no CUDA") as refused:
            await build(settings_for(path, device=device))
        assert str(refused.value).startswith(f"device {device}: ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_server_that_cannot_have_its_device_ends_with_one_line(
    tiny_arpa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "configure_logs", lambda *_, **__: None)  # of this process
    arguments = ("--listen", "127.0.0.1:0", "--model", f"m={tiny_arpa}", "--device", "cuda:1")
    done = command_here(*arguments)

    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("lmscore-server: device cuda:1: ")
    assert "no CUDA" in line


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--device", "gpu", "none of auto, cpu, cuda, cuda:N"),
        ("--device", "cuda:", "none of auto"),
        ("--dtype", "float16", "dtype"),
        ("--max-batch-tokens", "0", "max_batch_tokens"),
    ],
)
def test_settings_of_networks_are_checked(flag: str, value: str, said: str) -> None:
    done = command_here("--model", "m=x", flag, value)

    assert done.exit_code == 2
    assert said in done.stderr


def test_settings_of_networks_come_from_flags_environment_and_file(tmp_path: Path) -> None:
    config = tmp_path / "lmscore.toml"
    config.write_text('device = "cpu"\ndtype = "bfloat16"\nmax_batch_tokens = 5\n')
    done = command_here(
        "--config", str(config), "--print-config", "--device", "cuda:3", LMSCORE_DTYPE="float32"
    )

    lines = set(done.stdout.splitlines())
    assert {
        'device = "cuda:3"  # flag',
        'dtype = "float32"  # environment',
        f"max_batch_tokens = 5  # file {config}",
    } <= lines


def test_a_dry_run_says_what_the_network_is_and_where_it_computes(
    folder: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "configure_logs", lambda *_, **__: None)  # of this process
    with capture_logs():
        done = command_here(
            "--model", f"net={folder}", "--device", "cpu", "--dtype", "float32", "--dry-run"
        )

    assert done.exit_code == 0
    made_of, _, scored = done.stdout.partition("; ")
    assert made_of == "net: lstm of 12+10 units, 29 characters, on cpu in float32"
    expected = log_prob(tensors, "the quick brown fox jumps over the lazy dog")
    assert float(scored.split()[-2]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.timeout(300)
def test_without_torch_a_network_says_what_to_install(folder: Path) -> None:
    program = f"""
import sys
sys.modules["torch"] = None
from pathlib import Path
from lmscore.models.errors import CapabilityError
from lmscore.models.loading import load_model
try:
    load_model(Path({str(folder)!r}))
except CapabilityError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=280
    )

    assert "needs torch" in done.stdout or "need torch" in done.stdout
    assert "pip install 'lmscore[server]'" in done.stdout
