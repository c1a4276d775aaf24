"""Which tokenizer a checkpoint has, as its config.json says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from lmscore.models.errors import ModelFormatError
from lmscore.models.tokenization.tokenizer import SpecialNames
from lmscore.models.vocabulary import EOS, UNK

TokenizerType = Literal[
    "words", "characters", "bytes", "huggingface", "sentencepiece", "subword-nmt"
]


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """A tokenizer's type, its files beside the config, and the names of its special tokens.

    One symbol for bos and eos, as most networks have it, is the default.
    """

    type: TokenizerType
    file: str | None = None  # vocab.txt, tokenizer.json, a .model; bytes need none
    codes_file: str | None = None  # subword-nmt's merges
    bos: str = EOS  # token that stands before a text
    eos: str = EOS  # token scored after a text
    unk: str | None = UNK  # None: the vocabulary has none

    @property
    def names(self) -> SpecialNames:
        """How its file writes the special tokens."""
        return SpecialNames(self.bos, self.eos, self.unk)

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {name: value for name, value in asdict(self).items() if name == "unk" or value}

    @classmethod
    def from_json(cls, path: Path, values: object) -> TokenizerSpec:
        """What a file says; ModelFormatError names the file and the field."""
        if not isinstance(values, dict):
            raise ModelFormatError(path, '"tokenizer" is not an object')
        if unknown := sorted(set(values) - {field.name for field in fields(cls)}):
            raise ModelFormatError(path, f'"tokenizer" has an unknown field "{unknown[0]}"')
        if values.get("type") not in get_args(TokenizerType):
            known = ", ".join(get_args(TokenizerType))
            raise ModelFormatError(
                path, f"tokenizer type {values.get('type')!r} is none of {known}"
            )
        names: dict[str, Any] = values
        for name, value in names.items():
            if not (isinstance(value, str) and value) and (name != "unk" or value is not None):
                raise ModelFormatError(path, f"tokenizer {name} {value!r} is not a name")
            if name in {"file", "codes_file"} and Path(str(value)).name != value:
                problem = f"tokenizer {name} {value!r} is not the name of a file in this folder"
                raise ModelFormatError(path, problem)
        return cls(**values)
