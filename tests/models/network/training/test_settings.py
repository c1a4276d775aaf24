"""Settings from presets, files and flags: which wins, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmscore.models.network.training.settings import TrainingSettings
from lmscore.models.network.training.settings_file import (
    Layer,
    SettingsError,
    as_toml,
    combined,
    preset,
    preset_names,
    settings_file,
)


def file_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my.toml"
    path.write_text(text)
    return path


def settings_of(tmp_path: Path, text: str) -> TrainingSettings:
    return combined([settings_file(file_of(tmp_path, text))])


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_once_its_tokenizer_is_named(name: str) -> None:
    layers = [preset(name)]
    if name.startswith("subword"):
        layers.append(Layer("flags", {"tokenizer": {"file": "tokenizer.json"}}))

    assert combined(layers).network.config(100).vocabulary_size == 100


def test_a_flag_beats_the_file_which_beats_the_preset(tmp_path: Path) -> None:
    path = file_of(tmp_path, "[network]\nkind = 'gru'\nembedding_size = 7\n[run]\nseed = 9\n")
    flags = Layer("command line", {"network": {"embedding_size": 8}})

    settings = combined([preset("char-small"), settings_file(path), flags])

    assert settings.network.embedding_size == 8
    assert settings.network.kind == "gru"
    assert settings.run.seed == 9
    assert settings.tokenizer.type == "characters"


def test_paths_of_a_file_start_from_its_folder(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "[data]\ntrain = ['a.txt', '/b.txt']\nvalid = 'sub/c.txt'\n")

    assert settings.data.train == (tmp_path / "a.txt", Path("/b.txt"))
    assert settings.data.valid == tmp_path / "sub/c.txt"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[network]\nkind = 'feedforward'\nhidden_sizes = [3, 4]\nactivation = 'gelu'\n",
        "[training]\nclip_norm = 'none'\nstop_patience = 3\n",
        "[data]\ntrain = ['with \"quotes\" and ä.txt']\n[tokenizer]\nunk = 'none'\n",
    ],
)
def test_settings_written_as_toml_are_read_back_the_same(tmp_path: Path, text: str) -> None:
    settings = settings_of(tmp_path, text)

    assert combined([settings_file(file_of(tmp_path, as_toml(settings)))]) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[network]\nhiden_sizes = [3]", "my.toml: network.hiden_sizes is no setting; [network]"),
        ("[netwrok]\nkind = 'rnn'", "my.toml: [netwrok] is none of the sections data, tokenizer"),
        ("epochs = 3", "my.toml: epochs stands outside of the sections"),
        ("[training]\nepochs = '3'", "my.toml: training.epochs: '3' is not a whole number"),
        ("[training]\nepochs = true", "my.toml: training.epochs: True is not a whole number"),
        ("[training]\nepochs = 0", "my.toml: training.epochs: 0 is less than 1"),
        ("[training]\nepochs = ", "my.toml: not TOML:"),
        ("[training]\nlearning_rate = nan", "training.learning_rate: nan is not a number above 0"),
        ("[training]\nclip_norm = -1", "training.clip_norm: -1 is not a number above 0"),
        ("[training]\nmomentum = 1.0", "training.momentum: 1.0 is not less than 1"),
        ("[training]\nschedule = 'step'", "'step' is not one of constant, cosine, plateau"),
        ("[network]\nkind = 'cnn'", "network.kind: 'cnn' is not one of feedforward, rnn"),
        ("[network]\nhidden_sizes = ['a']", "network.hidden_sizes: ['a'] is not a whole number"),
        ("[network]\nhidden_sizes = []", "network.hidden_sizes: names no layer"),
        ("[network]\ndropout = 1.5", "network.dropout: 1.5 is not within 0 and 1"),
        ("[network]\ntied = 1", "network.tied: 1 is not true or false"),
        ("[network]\ntied = true", "network.tied: needs an embedding as wide as"),
        ("[data]\nvalid_fraction = 1.0", "data.valid_fraction: 1.0 is not within 0 and 1"),
        ("[data]\ntrain = [1]", "data.train: [1] is not the name of a file"),
        ("[tokenizer]\ntype = 'huggingface'", "tokenizer.file: huggingface and sentencepiece"),
        ("[tokenizer]\nfile = 'x.model'", "tokenizer.file: huggingface and sentencepiece"),
        ("[run]\nseed = -1", "run.seed: -1 is less than 0"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(tmp_path, text)

    assert str(caught.value).startswith(str(tmp_path / "my.toml"))
    assert message in str(caught.value)


def test_what_only_layers_together_make_wrong_names_the_last_to_set_it() -> None:
    with pytest.raises(SettingsError, match=r"^flags: training.epochs: 0 is less than 1"):
        combined([preset("char-small"), Layer("flags", {"training": {"epochs": 0}})])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent.toml: No such file"):
        settings_file(tmp_path / "absent.toml")
