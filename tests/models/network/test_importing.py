"""Networks of other programs give the same probabilities as their own modules, once imported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor

from lmscore.models.network.checkpoint import FORMAT, FORMAT_VERSION, read_checkpoint
from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.importers.importing import (
    ImportOptions,
    TargetExistsError,
    import_network,
)
from lmscore.models.network.importers.report import ImportReport
from lmscore.models.network.importers.tokenizer_files import VocabularyOptions
from lmscore.models.network.module import NetworkModule
from lmscore.models.tokenization.spec import TokenizerSpec
from tests.models.network.make_checkpoints import ORIGINALS, VOCABULARY_SIZE, Original, words

TOKEN_IDS = torch.arange(2 * 11).reshape(2, 11) * 7 % VOCABULARY_SIZE  # (batch, time)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in words()))
    return path


def imported(
    checkpoint: Path, vocabulary: Path, folder: Path, original: Original | None = None
) -> ImportReport:
    activation = original.activation if original is not None else None
    options = ImportOptions(VocabularyOptions(file=vocabulary), activation)  # type: ignore[arg-type]
    return import_network(checkpoint, folder, options)


def log_probs_here(folder: Path) -> Tensor:
    checkpoint = read_checkpoint(folder)
    module = NetworkModule(checkpoint.config).to(checkpoint.tensors["embedding.weight"].dtype)
    tensors = dict(checkpoint.tensors)
    module.load_state_dict(tensors)
    logits: Tensor = module(TOKEN_IDS, module.initial_state(2))[0]
    return logits.log_softmax(-1)


def log_probs_there(original: Original, dtype: torch.dtype) -> Tensor:
    logits: Tensor = original.module(dtype)(TOKEN_IDS.T)
    return logits.transpose(0, 1).log_softmax(-1)


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")  # PyTorch's original
@pytest.mark.parametrize("name", ORIGINALS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str
)
@torch.no_grad()
def test_an_imported_network_says_what_the_original_says(
    name: str, dtype: torch.dtype, tolerance: float, tmp_path: Path, vocabulary: Path
) -> None:
    original = ORIGINALS[name]
    torch.save(original.save(original.module(dtype).state_dict()), tmp_path / "model.pt")
    report = imported(tmp_path / "model.pt", vocabulary, tmp_path / "out", original)

    assert original.source in report.source
    assert report.config.to_json() == {**original.network, "vocabulary_size": VOCABULARY_SIZE}
    assert report.dtype == str(dtype).removeprefix("torch.")
    there = log_probs_there(original, dtype)
    assert log_probs_here(tmp_path / "out").sub(there).abs().max() < tolerance


@pytest.mark.parametrize("name", ["words-lstm", "awd", "fairseq-projected"])
@torch.no_grad()
def test_safetensors_are_read_as_what_torch_saved(
    name: str, tmp_path: Path, vocabulary: Path
) -> None:
    original = ORIGINALS[name]
    state = original.module().state_dict()
    save_file({k: t.clone() for k, t in state.items()}, tmp_path / "model.safetensors")
    imported(tmp_path / "model.safetensors", vocabulary, tmp_path / "out")

    there = log_probs_there(original, torch.float64)
    assert torch.allclose(log_probs_here(tmp_path / "out"), there, atol=1e-12)


@torch.no_grad()
def test_tensors_that_safetensors_kept_once_are_found_again(
    tmp_path: Path, vocabulary: Path
) -> None:
    original = ORIGINALS["words-lstm-tied"]
    save_model(original.module(), str(tmp_path / "model.safetensors"))
    report = imported(tmp_path / "model.safetensors", vocabulary, tmp_path / "out")

    assert report.config.tied
    there = log_probs_there(original, torch.float64)
    assert torch.allclose(log_probs_here(tmp_path / "out"), there, atol=1e-12)


@torch.no_grad()
def test_the_format_of_old_versions_of_torch_is_read(tmp_path: Path, vocabulary: Path) -> None:
    original = ORIGINALS["words-lstm-tied"]
    state = original.module().state_dict()
    torch.save(state, tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    imported(tmp_path / "model.pt", vocabulary, tmp_path / "out")

    there = log_probs_there(original, torch.float64)
    assert torch.allclose(log_probs_here(tmp_path / "out"), there, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_kept(dtype: torch.dtype, tmp_path: Path, vocabulary: Path) -> None:
    state = ORIGINALS["words-lstm"].module(dtype).state_dict()
    torch.save(state, tmp_path / "model.pt")
    report = imported(tmp_path / "model.pt", vocabulary, tmp_path / "out")

    assert report.dtype == str(dtype).removeprefix("torch.")
    tensors = read_checkpoint(tmp_path / "out").tensors
    assert torch.equal(tensors["layers.1.weight_hh_l0"], state["rnn.weight_hh_l1"])


@torch.no_grad()
def test_the_report_tells_what_is_likeliest_at_first(tmp_path: Path, vocabulary: Path) -> None:
    torch.save(ORIGINALS["words-lstm"].module().state_dict(), tmp_path / "model.pt")
    report = imported(tmp_path / "model.pt", vocabulary, tmp_path / "out")
    checkpoint = read_checkpoint(tmp_path / "out")
    tokens = checkpoint.tokenizer.vocabulary
    module = NetworkModule(checkpoint.config)
    module.load_state_dict(dict(checkpoint.tensors))

    logits = module(torch.tensor([[tokens.bos_id]]), module.initial_state(1))[0]

    likeliest = dict(report.probe.likeliest)
    best = logits[0, 0].softmax(-1).topk(len(likeliest))
    assert list(likeliest) == [tokens.token(i) for i in best.indices.tolist()]
    assert list(likeliest.values()) == pytest.approx(best.values.tolist())


def test_pieces_in_a_list_of_words_are_told(tmp_path: Path) -> None:
    torch.save(ORIGINALS["words-lstm"].module().state_dict(), tmp_path / "model.pt")
    path = tmp_path / "vocab.txt"
    pieces = (word if word.startswith("<") else f"\u2581{word}" for word in words())
    path.write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    report = imported(tmp_path / "model.pt", path, tmp_path / "out")

    assert any("are SentencePiece pieces" in note for note in report.notes)


def test_absent_biases_are_zeros_and_are_told(tmp_path: Path, vocabulary: Path) -> None:
    torch.save(ORIGINALS["words-lstm-without-bias"].module().state_dict(), tmp_path / "model.pt")
    report = imported(tmp_path / "model.pt", vocabulary, tmp_path / "out")

    [note] = report.notes
    assert note == (
        "zeros stand for rnn.bias_ih_l0, rnn.bias_hh_l0, rnn.bias_ih_l1, rnn.bias_hh_l1, "
        "decoder.bias"
    )
    assert not read_checkpoint(tmp_path / "out").tensors["output.bias"].any()


def test_equal_embeddings_of_another_width_than_the_features_are_not_tied(
    tmp_path: Path, vocabulary: Path
) -> None:
    state = ORIGINALS["fairseq-projected"].module().state_dict()
    assert state["decoder.fc_out.weight"].shape != state["decoder.embed_tokens.weight"].shape
    torch.save({"model": state}, tmp_path / "model.pt")
    report = imported(tmp_path / "model.pt", vocabulary, tmp_path / "out")

    assert not report.config.tied


def test_the_folder_says_where_it_is_from(tmp_path: Path, vocabulary: Path) -> None:
    torch.save(ORIGINALS["espnet1-gru"].module().state_dict(), tmp_path / "model.pt")
    imported(tmp_path / "model.pt", vocabulary, tmp_path / "out")

    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["notes"] == {"imported_from": "ESPnet1's DefaultRNNLM"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "config.json", "model.safetensors", "vocab.txt"
    ]  # fmt: skip


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, vocabulary: Path) -> None:
    torch.save(ORIGINALS["words-lstm"].module().state_dict(), tmp_path / "model.pt")
    with pytest.raises(TargetExistsError) as caught:
        imported(tmp_path / "model.pt", vocabulary, tmp_path)

    assert str(caught.value) == (
        f"{tmp_path}: a folder with other files and no network; name a new or empty one"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "vocab.txt"]


def test_a_network_is_replaced_only_when_asked_to(tmp_path: Path, vocabulary: Path) -> None:
    torch.save(ORIGINALS["words-lstm"].module().state_dict(), tmp_path / "model.pt")
    imported(tmp_path / "model.pt", vocabulary, tmp_path / "out")
    torch.save(ORIGINALS["words-gru"].module().state_dict(), tmp_path / "model.pt")
    with pytest.raises(TargetExistsError, match="holds a network already; --force replaces it"):
        imported(tmp_path / "model.pt", vocabulary, tmp_path / "out")
    assert read_checkpoint(tmp_path / "out").config.kind == "lstm"

    options = ImportOptions(VocabularyOptions(file=vocabulary), overwrite=True)
    import_network(tmp_path / "model.pt", tmp_path / "out", options)
    assert read_checkpoint(tmp_path / "out").config.kind == "gru"


def test_a_failed_import_leaves_nothing(tmp_path: Path, vocabulary: Path) -> None:
    torch.save(ORIGINALS["words-lstm"].module().state_dict(), tmp_path / "model.pt")
    vocabulary.write_text("a b\n" * (VOCABULARY_SIZE - 1) + "</s>\n")
    with pytest.raises(Exception, match="already on line 1"):
        imported(tmp_path / "model.pt", vocabulary, tmp_path / "out")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "vocab.txt"]


def test_a_sample_tells_a_shuffled_vocabulary_from_the_right_one(tmp_path: Path) -> None:
    size = VOCABULARY_SIZE
    state = ORIGINALS["words-lstm"].module().state_dict()
    state = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    # All else being 0, the bias alone says what is likely: the first words.
    state["decoder.bias"] = torch.linspace(6, -6, size, dtype=torch.float64)
    torch.save(state, tmp_path / "model.pt")
    (tmp_path / "text").write_text("w19 w18\nw18 w19 w19\nw19 qux\n")
    right = words()[::-1]  # <eos> comes first
    found = {}
    for name, order in {"right": right, "wrong": right[::-1]}.items():
        (tmp_path / name).write_text("".join(f"{word}\n" for word in order))
        options = ImportOptions(VocabularyOptions(file=tmp_path / name), sample=tmp_path / "text")
        found[name] = import_network(tmp_path / "model.pt", tmp_path / f"{name}.out", options)

    right_fit, wrong_fit = found["right"].fit, found["wrong"].fit
    assert right_fit is not None
    assert wrong_fit is not None
    assert (right_fit.tokens, right_fit.unknown) == (10, 1)
    log_probs = state["decoder.bias"].log_softmax(0)
    ids = [
        right.index(word)
        for word in ["w19", "w18", "<eos>", "w18", "w19", "w19", "<eos>", "w19", "<eos>"]
    ]
    assert right_fit.perplexity == pytest.approx(float((-log_probs[ids].mean()).exp()))
    assert wrong_fit.perplexity > wrong_fit.uniform_perplexity == size
    assert "WORSE THAN CHANCE" in found["wrong"].as_text()
    assert "WORSE" not in found["right"].as_text()
    assert found["right"].probe.likeliest[0][0] == "<eos>"


def test_the_config_in_the_documentation_is_one() -> None:
    text = (Path(__file__).parents[3] / "docs" / "networks.md").read_text()
    values = json.loads(text.partition("```json\n")[2].partition("```")[0])

    assert (values["format"], values["version"]) == (FORMAT, FORMAT_VERSION)
    config = NetworkConfig.from_json(Path("networks.md"), values["network"])
    assert (config.kind, config.hidden_sizes, config.tied) == ("lstm", (650, 650), True)
    assert TokenizerSpec.from_json(Path("networks.md"), values["tokenizer"]).bos == "<eos>"
    fields = {field.name for field in dataclasses.fields(NetworkConfig)}
    assert all(f"| `{name}` |" in text for name in fields)
    assert all(f"`{name}" in text for name in config.shapes() if not name.startswith("layers"))
