"""What is wrong with a checkpoint of another program is said so that one knows what to do."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lmscore.models.errors import ModelFormatError
from lmscore.models.network.importers.assembly import assemble
from lmscore.models.network.importers.importing import ImportOptions, import_network
from lmscore.models.network.importers.sources import SOURCES
from lmscore.models.network.importers.tokenizer_files import VocabularyOptions
from lmscore.models.network.importers.torch_file import read_torch_file
from tests.models.network.make_checkpoints import ORIGINALS, WordLanguageModel, words

Change = Callable[[dict[str, Any]], object]


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.victim,))


def state_of(name: str) -> dict[str, Tensor]:
    return dict(ORIGINALS[name].module().state_dict())


def problem_of(path: Path) -> str:
    with pytest.raises(ModelFormatError) as caught:
        assemble(path, read_torch_file(path).tensors)
    assert caught.value.path == path
    return caught.value.problem


CHANGES: list[tuple[str, Change, str]] = [
    ("words-lstm", lambda s: s.pop("encoder.weight"), "of none of the programs known here"),
    ("words-lstm", lambda s: s.pop("rnn.weight_hh_l1"), "lacks rnn.weight_hh_l1"),
    ("words-lstm", lambda s: s.pop("rnn.weight_ih_l0"), "lacks rnn.weight_ih_l0"),
    ("words-lstm", lambda s: s.pop("decoder.weight"), "lacks decoder.weight"),
    ("espnet1-gru", lambda s: s.pop("predictor.lo.weight"), "lacks predictor.lo.weight"),
    ("awd", lambda s: s.pop("rnns.1.module.weight_hh_l0_raw"), "lacks rnns.1.module.weight_hh_l0"),
    (
        "words-lstm",
        lambda s: s.update({"rnn.weight_ih_l0_reverse": torch.zeros(28, 5)}),
        (
            "has rnn.weight_ih_l0_reverse, which a network of PyTorch's word_language_model, "
            "Kaldi's pytorchnn or colorlessgreenRNNs does not have"
        ),
    ),
    (
        "words-lstm",
        lambda s: s.update({"rnn.weight_ih_l1": torch.zeros(28, 6)}),
        "rnn.weight_ih_l1 is of shape [28, 6], where the other tensors ask for [28, 7]",
    ),
    (
        "words-lstm",
        lambda s: s.update({"decoder.weight": torch.zeros(22, 7)}),
        "decoder.weight is of shape [22, 7], where the other tensors ask for [23, 7]",
    ),
    (
        "words-lstm",
        lambda s: s.update({"rnn.weight_hh_l0": torch.zeros(28, 6)}),
        (
            "rnn.weight_hh_l0 is of shape [28, 6]: 28 rows are not 6 times one of 1 (rnn), "
            "3 (gru), 4 (lstm)"
        ),
    ),
    (
        "words-lstm",
        lambda s: s.update({"rnn.weight_hh_l0": torch.zeros(0, 0)}),
        (
            "rnn.weight_hh_l0 is of shape [0, 0]: 0 rows are not 0 times one of 1 (rnn), 3 (gru), "
            "4 (lstm)"
        ),
    ),
    (
        "words-lstm",
        lambda s: s.update({"encoder.weight": torch.zeros(23)}),
        "encoder.weight is of shape [23], not a matrix",
    ),
    (
        "words-lstm",
        lambda s: s.update({"rnn.weight_hr_l0": torch.zeros(7)}),
        "rnn.weight_hr_l0 is of shape [7], not a matrix",
    ),
    (
        "words-lstm",
        lambda s: s.update({"rnn.weight_hh_l1": torch.zeros(21, 7)}),
        "its layers are of different kinds: lstm, gru",
    ),
    (
        "words-lstm",
        lambda s: s["rnn.bias_hh_l1"].data.fill_(float("nan")),
        "rnn.bias_hh_l1 has a NaN or infinite value",
    ),
    (
        "fairseq",
        lambda s: s["decoder.layers.1.weight_hh"].data[0].fill_(float("inf")),
        "decoder.layers.1.weight_hh has a NaN or infinite value",
    ),
    (
        "words-lstm",
        lambda s: s.update({"decoder.bias": torch.zeros(23, dtype=torch.int8)}),
        "decoder.bias has numbers of type int8",
    ),
    (
        "words-lstm",
        lambda s: s.update({"encoder.weight": torch.eye(23, 5).to_sparse()}),
        "encoder.weight is of layout sparse_coo; save it as to_dense() gives it",
    ),
    (
        "fairseq",
        lambda s: s.update({"decoder.adaptive_softmax.head.weight": torch.zeros(3, 3)}),
        "decoder.adaptive_softmax.head.weight: an adaptive softmax, which is not supported",
    ),
    (
        "fairseq",
        lambda s: s.update({"encoder.embed_tokens.weight": torch.zeros(3, 3)}),
        "encoder.embed_tokens.weight: a translation model, not a language model",
    ),
]


@pytest.mark.parametrize(("name", "change", "problem"), CHANGES)
def test_a_wrong_tensor_is_named_as_its_program_names_it(
    name: str, change: Change, problem: str, tmp_path: Path
) -> None:
    state = state_of(name)
    change(state)
    torch.save(state, tmp_path / "model.pt")

    found = problem_of(tmp_path / "model.pt")
    assert found == problem or (problem.startswith("of none") and found.startswith(problem))


@pytest.mark.parametrize("inner", ["linear.weight", "linear.module.weight_raw"])
def test_a_qrnn_is_refused_by_name(inner: str, tmp_path: Path) -> None:
    state = {"encoder.weight": torch.zeros(9, 4), f"rnns.0.{inner}": torch.zeros(12, 4)}
    torch.save(state, tmp_path / "model.pt")

    assert problem_of(tmp_path / "model.pt") == f"rnns.0.{inner}: a QRNN, which is not supported"


def test_unknown_tensors_are_shown_with_the_programs_that_are_known(tmp_path: Path) -> None:
    names = [f"transformer.h.{i}.attn.weight" for i in range(7)]
    save_file({name: torch.zeros(2) for name in names}, tmp_path / "model.safetensors")

    programs = "; ".join(source.name for source in SOURCES)
    assert problem_of(tmp_path / "model.safetensors") == (
        f"of none of the programs known here: its tensors are {', '.join(names[:5])} and 2 more; "
        f"it looks like a transformer, and only recurrent networks are read. Known are networks "
        f"of: {programs}"
    )


def test_five_unknown_tensors_are_all_named(tmp_path: Path) -> None:
    names = [f"tensor{i}" for i in range(5)]
    save_file({name: torch.zeros(2) for name in names}, tmp_path / "model.safetensors")

    problem = problem_of(tmp_path / "model.safetensors")
    assert f"its tensors are {', '.join(names)}" in problem
    assert "more" not in problem


def test_what_is_no_tensor_among_tensors_is_named(tmp_path: Path) -> None:
    torch.save({**state_of("words-lstm"), "steps": 3}, tmp_path / "model.pt")

    assert problem_of(tmp_path / "model.pt") == "steps is no tensor, but a int"


def test_an_activation_is_refused_where_there_is_no_choice(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="of kind gru, which has no choice of activation"):
        assemble(tmp_path / "model.pt", state_of("words-gru"), "relu")


def test_a_file_that_is_cut_off_is_called_so(tmp_path: Path) -> None:
    torch.save(state_of("words-lstm"), tmp_path / "model.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    for size in (len(whole) // 2, len(whole) - 10, 40):
        (tmp_path / "model.pt").write_bytes(whole[:size])
        assert problem_of(tmp_path / "model.pt") == (
            "a zip archive that is cut off or damaged; copy or download it anew"
        )


def test_an_old_or_plain_pickle_that_is_cut_off_is_called_so(tmp_path: Path) -> None:
    torch.save(
        state_of("words-lstm"), tmp_path / "model.pt", _use_new_zipfile_serialization=False
    )  # fmt: skip
    whole = (tmp_path / "model.pt").read_bytes()
    for size in (3, 60, len(whole) // 2, len(whole) - 3):
        (tmp_path / "model.pt").write_bytes(whole[:size])
        assert problem_of(tmp_path / "model.pt") == (
            "a file of torch.save or pickle that is cut off, damaged or of another kind"
        )


def test_safetensors_that_are_cut_off_are_called_so(tmp_path: Path) -> None:
    save_file(state_of("words-lstm"), tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])

    problem = problem_of(tmp_path / "model.safetensors")
    assert problem.startswith("not a whole safetensors file: ")


def test_other_zip_archives_are_told_apart(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")

    assert problem_of(tmp_path / "model.pt") == "a zip archive, but not one of torch.save"


def test_a_file_without_tensors_is_told_what_was_looked_for(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "model.pt")

    assert problem_of(tmp_path / "model.pt") == (
        "holds no tensors by name, neither as they are nor as model, state_dict, "
        "model_state_dict, model_avg; it has epoch: save the state_dict alone"
    )


WHOLE_MODELS: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "the model": (lambda model: model, "saved.state_dict()"),
    "a list": (lambda model: [model, None, None], "saved[0].state_dict()"),
    "a dict": (lambda model: {"model": model}, 'saved["model"]'),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("container", WHOLE_MODELS)
def test_a_whole_model_is_refused_with_the_way_to_save_its_weights(
    container: str, zipped: bool, tmp_path: Path
) -> None:
    wrap, weights = WHOLE_MODELS[container]
    model = WordLanguageModel("LSTM", 4, 5, 1)
    torch.save(wrap(model), tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)

    name = f"{WordLanguageModel.__module__}.WordLanguageModel"
    assert problem_of(tmp_path / "model.pt") == (
        f"holds Python objects, such as {name}, which are never loaded here, as loading them runs "
        "code of the file's choice. If you trust it, save its weights alone where its own code can "
        "be imported: saved = torch.load('model.pt', map_location='cpu', weights_only=False); "
        f"torch.save({weights}, 'model.weights.pt')"
    )


def test_the_way_told_to_save_weights_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = WordLanguageModel("LSTM", 4, 5, 1)
    torch.save([model, None, None], tmp_path / "model.pt")
    advice = problem_of(tmp_path / "model.pt").partition("imported: ")[2]
    monkeypatch.chdir(tmp_path)
    exec(advice, {"torch": torch})  # noqa: S102 what a user would copy

    network = assemble(Path("x"), read_torch_file(tmp_path / "model.weights.pt").tensors)
    assert torch.equal(network.tensors["embedding.weight"], model.encoder.weight)


@pytest.mark.parametrize("how", ["zipped", "old", "pickle", "within a state_dict"])
def test_a_malicious_pickle_runs_nothing(how: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    evil: object = Malicious(victim)
    if how == "within a state_dict":
        evil = state_of("words-lstm") | {"extra": evil}
    if how == "pickle":
        (tmp_path / "model.pt").write_bytes(pickle.dumps(evil, protocol=2))
    else:
        torch.save(evil, tmp_path / "model.pt", _use_new_zipfile_serialization=how != "old")

    assert "never loaded here" in problem_of(tmp_path / "model.pt")
    assert not victim.exists()
    with suppress(RuntimeError):  # it would have, otherwise, even where it is no file of torch's
        torch.load(tmp_path / "model.pt", weights_only=False)
    assert victim.exists()


def test_residuals_of_fairseq_are_refused_and_their_absence_is_noted(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words()))
    options = ImportOptions(VocabularyOptions(file=tmp_path / "vocab.txt"), overwrite=True)
    notes = {}
    for residuals in (False, True, None):
        saved: dict[str, Any] = {"model": state_of("fairseq")}
        if residuals is not None:
            saved["args"] = argparse.Namespace(residuals=residuals, arch="lstm_lm")
        torch.save(saved, tmp_path / "model.pt")
        try:
            notes[residuals] = import_network(tmp_path / "model.pt", tmp_path / "o", options).notes
        except ModelFormatError as error:
            notes[residuals] = [error.problem]

    weights = 'the weights are those under "model"'
    assert notes == {
        False: [weights],
        True: ["trained with --residuals, between layers, which is not supported"],
        None: [weights, "taken to be trained without --residuals: the file does not say"],
    }


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_what_wraps_a_network_while_training_is_taken_off(wrapper: str, tmp_path: Path) -> None:
    state = state_of("words-lstm")
    torch.save({f"{wrapper}{name}": tensor for name, tensor in state.items()}, tmp_path / "m.pt")

    assert read_torch_file(tmp_path / "m.pt").tensors.keys() == state.keys()


def test_a_dictionary_of_something_else_says_what_it_has(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "net": state_of("words-lstm")}, tmp_path / "model.pt")

    assert problem_of(tmp_path / "model.pt").endswith(
        "; it has epoch, net: save the state_dict alone"
    )
