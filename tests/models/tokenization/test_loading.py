"""What a configuration says of a tokenizer, and the tokenizer that it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmscore.models.errors import ModelFormatError, ModelNotFoundError
from lmscore.models.tokenization.loading import load_tokenizer
from lmscore.models.tokenization.spec import TokenizerSpec
from tests.models.tokenization.examples import (
    CODES,
    PIECES,
    VOCABULARY,
    byte_bpe_library,
    ids_of,
    lines,
    sentencepiece_model,
)

CONFIG = Path("model/config.json")
TYPES = (
    "tokenizer.type: must be one of words, characters, bytes, huggingface, sentencepiece, "
    "subword-nmt"
)
SPECS: list[dict[str, Any]] = [
    {"type": "words", "file": "vocab.txt"},
    {"type": "characters", "file": "letters.txt", "bos": "<s>", "unk": None},
    {"type": "bytes"},
    {"type": "huggingface", "file": "tokenizer.json", "bos": "</s>", "unk": None},
    {"type": "sentencepiece", "file": "spm.model"},
    {"type": "subword-nmt", "file": "pieces.txt", "codes_file": "codes"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "vocab.txt").write_text(lines(VOCABULARY))
    (folder / "letters.txt").write_text(lines(["<s>", "</s>", *"the ca"]))
    (folder / "tokenizer.json").write_text(byte_bpe_library().to_str())
    (folder / "spm.model").write_bytes(sentencepiece_model(vocab_size=80))
    (folder / "codes").write_text(lines(CODES))
    (folder / "pieces.txt").write_text(lines(PIECES))
    return folder


@pytest.mark.parametrize("values", SPECS, ids=lambda values: values["type"])
def test_a_tokenizer_of_each_type_is_loaded(folder: Path, values: dict[str, Any]) -> None:
    tokenizer = load_tokenizer(folder, TokenizerSpec.from_json(CONFIG, values))

    assert tokenizer.decode(ids_of(tokenizer, "the cat")) == b"the cat"


@pytest.mark.parametrize("values", SPECS, ids=lambda values: values["type"])
def test_a_spec_comes_back_from_json(values: dict[str, Any]) -> None:
    spec = TokenizerSpec.from_json(CONFIG, values)

    assert TokenizerSpec.from_json(CONFIG, spec.to_json()) == spec
    assert spec.to_json().items() >= values.items()


@pytest.mark.parametrize("values", SPECS, ids=lambda values: values["type"])
def test_a_missing_file_is_named(tmp_path: Path, values: dict[str, Any]) -> None:
    if values["type"] == "bytes":
        assert len(load_tokenizer(tmp_path, TokenizerSpec("bytes")).vocabulary) == 257
        return
    with pytest.raises(ModelNotFoundError) as caught:
        load_tokenizer(tmp_path, TokenizerSpec.from_json(CONFIG, values))

    assert str(caught.value) == f"{tmp_path / values['file']}: no such file"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, TYPES),
        ({"type": "bpe"}, TYPES),
        ({"type": ["words"]}, TYPES),
        ({"type": "words"}, "tokenizer.file: missing"),
        ({"type": "words", "file": 3}, "tokenizer.file: not a string"),
        ({"type": "words", "file": "../vocab.txt"},
         'tokenizer.file: "../vocab.txt" is not the name of a file in the same folder'),
        ({"type": "words", "file": ".."},
         'tokenizer.file: ".." is not the name of a file in the same folder'),
        ({"type": "words", "file": "a\\b"},
         'tokenizer.file: "a\\b" is not the name of a file in the same folder'),
        ({"type": "bytes", "file": "vocab.txt"}, "tokenizer.file: this type has none"),
        ({"type": "words", "file": "v", "codes_file": "c"},
         "tokenizer.codes_file: this type has none"),
        ({"type": "subword-nmt", "file": "v"}, "tokenizer.codes_file: missing"),
        ({"type": "words", "file": "v", "bos": None}, "tokenizer.bos: must be a token"),
        ({"type": "words", "file": "v", "unk": ""}, "tokenizer.unk: must be a token or null"),
        ({"type": "words", "file": "v", "lower": True},
         "tokenizer.lower: not a setting; there are type, file, codes_file, bos, eos, unk"),
        (["words"], "tokenizer: not an object"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(values: Any, problem: str) -> None:
    with pytest.raises(ModelFormatError) as caught:
        TokenizerSpec.from_json(CONFIG, values)

    assert str(caught.value) == f"{CONFIG}: {problem}"
