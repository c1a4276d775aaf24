"""A network's folder is read as it was written, and every fault in it is named."""

from __future__ import annotations

import errno
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmscore.models.errors import CapabilityError, ModelError, ModelFormatError
from lmscore.models.network import checkpoint as checkpoint_module
from lmscore.models.network.checkpoint import read_checkpoint, write_checkpoint
from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.module import NetworkModule
from lmscore.models.network.placement import Placement
from lmscore.models.tokenization.spec import TokenizerSpec
from tests.models.network.networks import KINDS, config_of, named, random_tensors, tokenizer_of

WORDS = TokenizerSpec(type="words", file="vocab.txt")


def written(
    folder: Path, config: NetworkConfig, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    tensors = {name: tensor.to(dtype) for name, tensor in random_tensors(config).items()}
    words = tokenizer_of(config.vocabulary_size).vocabulary.tokens(range(config.vocabulary_size))
    vocabulary = "".join(f"{word}\n" for word in words).encode()
    write_checkpoint(folder, config, tensors, WORDS, {"vocab.txt": vocabulary})
    return tensors


@pytest.mark.parametrize("config", KINDS, ids=named)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_checkpoint_is_read_as_it_was_written(
    config: NetworkConfig, dtype: torch.dtype, tmp_path: Path
) -> None:
    tensors = written(tmp_path, config, dtype)

    checkpoint = read_checkpoint(tmp_path)

    assert checkpoint.config == config
    assert checkpoint.tokenizer.vocabulary.token(3) == "w1"
    assert checkpoint.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert checkpoint.tensors[name].dtype == dtype
        assert torch.equal(checkpoint.tensors[name], tensor)


@pytest.mark.parametrize("config", KINDS, ids=named)
def test_a_checkpoint_has_the_names_of_the_module(config: NetworkConfig) -> None:
    state = NetworkModule(config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == config.shapes()


@pytest.mark.parametrize("projection_size", [None, 2])
def test_layers_of_different_sizes_fit_each_other(projection_size: int | None) -> None:
    config = config_of("lstm", hidden_sizes=(5, 4, 3), projection_size=projection_size, tied=False)
    state = NetworkModule(config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == config.shapes()


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_a_dropout_that_leaves_nothing_or_adds_is_refused(dropout: float) -> None:
    with pytest.raises(ValueError, match="dropout"):
        config_of("lstm", dropout=dropout)


def test_a_checkpoint_makes_its_folder_and_can_be_read_by_all_who_can_read_its_neighbours(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "runs" / "first"
    config = config_of("gru")
    tensors = random_tensors(config)
    write_checkpoint(folder, config, tensors, WORDS, {"vocab.txt": b"a"}, {"trained on": "Märchen"})

    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert modes.keys() == {"config.json", "model.safetensors", "vocab.txt"}
    assert len(set(modes.values())) == 1
    assert "Märchen" in (folder / "config.json").read_text(encoding="utf-8")


def test_a_full_disk_is_named_and_keeps_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    config = config_of("gru")
    with pytest.raises(OSError, match="No space left") as raised:
        write_checkpoint(tmp_path, config, random_tensors(config), WORDS, {})

    assert raised.value.errno == errno.ENOSPC
    assert Path(raised.value.filename).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_safetensors_that_is_no_systems_is_told_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SafetensorError("header too large")

    monkeypatch.setattr(checkpoint_module, "save_file", fail)
    config = config_of("gru")
    with pytest.raises(SafetensorError, match="header too large"):
        write_checkpoint(tmp_path, config, random_tensors(config), WORDS, {})


def test_the_feed_forward_trigram_of_the_textbook_has_its_parameters() -> None:
    config = NetworkConfig("feedforward", 10_000, 300, (500,), context_size=2)
    assert sum(torch.Size(shape).numel() for shape in config.shapes().values()) == 8_310_500


def in_config(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / "config.json"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return damage


def in_weights(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return damage


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-20])


def put_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"embedding.weight": [1.0]}))


def put_nan(tensors: dict[str, Tensor]) -> None:
    tensors["layers.1.weight_hh_l0"][2, 3] = torch.nan


def drop_last_word(folder: Path) -> None:
    path = folder / "vocab.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("no config", lambda f: (f / "config.json").unlink(), "config.json: no such file"),
    ("no weights", lambda f: (f / "model.safetensors").unlink(), "model.safetensors: no such file"),
    ("no vocabulary", lambda f: (f / "vocab.txt").unlink(), "vocab.txt: no such file"),
    ("not json", lambda f: (f / "config.json").write_text("{"), "config.json: not JSON: "),
    (
        "another program's",
        lambda f: (f / "config.json").write_text('{"model_type": "gpt2"}'),
        'config.json: not a network of this program: "format" is not "lmscore-network"; ',
    ),
    (
        "from the future",
        in_config(lambda v: v.update(version=9)),
        "config.json: version 9 is not 1, which is known here",
    ),
    (
        "no kind",
        in_config(lambda v: v["network"].pop("kind")),
        'config.json: "network" lacks "kind"',
    ),
    (
        "unknown kind",
        in_config(lambda v: v["network"].update(kind="qrnn")),
        "config.json: network: kind 'qrnn' is none of feedforward, rnn, lstm, gru",
    ),
    (
        "unknown field",
        in_config(lambda v: v["network"].update(heads=8)),
        'config.json: "network" has an unknown field "heads"',
    ),
    (
        "size that is no number",
        in_config(lambda v: v["network"].update(embedding_size="6")),
        "config.json: network: embedding_size '6' is not a whole number above 0",
    ),
    (
        "vocabulary of another size",
        drop_last_word,
        "config.json: vocabulary_size is 20, but the tokenizer has 19 tokens",
    ),
    (
        "contradicting config",
        in_config(lambda v: v["network"].update(hidden_sizes=[7, 4])),
        "model.safetensors: layers.1.weight_ih_l0 is of shape [20, 7], not [16, 7] as configured",
    ),
    (
        "another kind's config",
        in_config(lambda v: v["network"].update(kind="gru")),
        "model.safetensors: layers.0.weight_ih_l0 is of shape [28, 6], not [21, 6] as configured",
    ),
    (
        "tied in the config only",
        in_config(lambda v: v["network"].update(tied=True, projection_size=6)),
        "model.safetensors: lacks projection.bias, which the config asks for",
    ),
    (
        "missing tensor",
        in_weights(lambda t: t.pop("layers.1.bias_hh_l0")),
        "model.safetensors: lacks layers.1.bias_hh_l0, which the config asks for",
    ),
    (
        "extra tensor",
        in_weights(lambda t: t.update(extra=torch.zeros(2))),
        "model.safetensors: has extra, which the config does not know",
    ),
    (
        "misshapen tensor",
        in_weights(lambda t: t.update({"output.bias": torch.zeros(21)})),
        "model.safetensors: output.bias is of shape [21], not [20] as configured",
    ),
    (
        "whole numbers",
        in_weights(lambda t: t.update({"output.bias": torch.zeros(20, dtype=torch.int64)})),
        "model.safetensors: output.bias has numbers of type int64",
    ),
    (
        "NaN",
        in_weights(put_nan),
        "model.safetensors: layers.1.weight_hh_l0 has a NaN or infinite value",
    ),
    ("truncated", truncate, "model.safetensors: not a whole safetensors file: "),
    ("a pickle", put_a_pickle, "model.safetensors: not a whole safetensors file: "),
    (
        "file of another folder",
        in_config(lambda v: v["tokenizer"].update(file="../vocab.txt")),
        'config.json: tokenizer.file: "../vocab.txt" is not the name of a file in the same folder',
    ),
    (
        "unknown tokenizer",
        in_config(lambda v: v["tokenizer"].update(type="moses")),
        "config.json: tokenizer.type: must be one of words, characters, bytes, huggingface, ",
    ),
]


@pytest.mark.parametrize(("damage", "problem"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_what_is_wrong_is_named(
    damage: Callable[[Path], object], problem: str, tmp_path: Path
) -> None:
    written(tmp_path, config_of("lstm"))
    damage(tmp_path)

    with pytest.raises(ModelError) as caught:
        read_checkpoint(tmp_path)

    assert str(caught.value).startswith(f"{tmp_path}/{problem}")


def test_tensors_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    config = config_of("rnn")
    tensors = random_tensors(config) | {"output.bias": torch.zeros(3)}
    with pytest.raises(ModelFormatError, match=r"output\.bias is of shape \[3\]"):
        write_checkpoint(tmp_path / "new", config, tensors, WORDS, {})
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_is_refused_where_there_is_none(device: str) -> None:
    with pytest.raises(CapabilityError, match=f"device {device}: .* has no CUDA"):
        Placement(device).torch_device()


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_a_device_that_is_none_is_refused(device: str) -> None:
    with pytest.raises(CapabilityError, match="is none of auto, cpu, cuda, cuda:N"):
        Placement(device).torch_device()


def test_a_precision_that_is_none_is_refused() -> None:
    with pytest.raises(CapabilityError, match="dtype 'int8' is none of auto, float32"):
        Placement(dtype="int8").torch_dtype(torch.device("cpu"))
