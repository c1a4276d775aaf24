"""Which tokenizer a checkpoint has, as its config.json says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

from lmscore.models.errors import ModelFormatError
from lmscore.models.tokenization.tokenizer import SpecialNames
from lmscore.models.vocabulary import EOS, UNK

TokenizerType = Literal[
    "words", "characters", "bytes", "huggingface", "sentencepiece", "subword-nmt"
]
_TYPES: tuple[str, ...] = get_args(TokenizerType)


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """A tokenizer as a configuration describes it; files are names within the checkpoint's folder.

    Bytes have no file and names of their own. Where unk is None, a tokenizer.json or SentencePiece
    model still has the one that it says itself.
    """

    type: TokenizerType
    file: str | None = None  # None for bytes only
    codes_file: str | None = None  # of subword-nmt
    bos: str = EOS  # one symbol for both, as most networks have it
    eos: str = EOS
    unk: str | None = UNK

    @classmethod
    def from_json(cls, config: Path, values: object) -> Self:
        """The spec in a configuration, under its key tokenizer; raises ModelFormatError."""
        if not isinstance(values, Mapping):
            raise ModelFormatError(config, "tokenizer: not an object")
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise _wrong(config, key, f"not a setting; there are {', '.join(known)}")
        if values.get("type") not in _TYPES:
            raise _wrong(config, "type", f"must be one of {', '.join(_TYPES)}")
        kind = values["type"]
        _check_file(config, "file", values.get("file"), needed=kind != "bytes")
        _check_file(config, "codes_file", values.get("codes_file"), needed=kind == "subword-nmt")
        for key in ("bos", "eos", "unk"):
            _check_name(config, key, values)
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The spec as from_json takes it."""
        return asdict(self)

    @property
    def names(self) -> SpecialNames:
        """How its file writes the special tokens."""
        return SpecialNames(self.bos, self.eos, self.unk)


def _check_file(config: Path, key: str, value: object, *, needed: bool) -> None:
    if not needed:
        if value is not None:
            raise _wrong(config, key, "this type has none")
    elif value is None:
        raise _wrong(config, key, "missing")
    elif not isinstance(value, str):
        raise _wrong(config, key, "not a string")
    elif value in {"", ".", ".."} or any(character in value for character in "/\\\0"):
        raise _wrong(config, key, f'"{value}" is not the name of a file in the same folder')


def _check_name(config: Path, key: str, values: Mapping[str, Any]) -> None:
    value = values.get(key, "as usual")
    if value is None and key == "unk":
        return
    if not isinstance(value, str) or not value:
        allowed = "a token or null" if key == "unk" else "a token"
        raise _wrong(config, key, f"must be {allowed}")


def _wrong(config: Path, key: str, problem: str) -> ModelFormatError:
    return ModelFormatError(config, f"tokenizer.{key}: {problem}")
