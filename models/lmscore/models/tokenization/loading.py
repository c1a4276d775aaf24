"""The tokenizer of a checkpoint: what its configuration says of it, and its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from lmscore.models.tokenization.byte_level import ByteTokenizer
from lmscore.models.tokenization.characters import CharacterTokenizer
from lmscore.models.tokenization.huggingface import HuggingFaceTokenizer
from lmscore.models.tokenization.sentencepiece_model import SentencePieceTokenizer
from lmscore.models.tokenization.spec import TokenizerSpec
from lmscore.models.tokenization.subword_nmt import SubwordNmtTokenizer
from lmscore.models.tokenization.tokenizer import Tokenizer
from lmscore.models.tokenization.words import WordTokenizer


def load_tokenizer(folder: Path, spec: TokenizerSpec) -> Tokenizer:
    """The tokenizer of a checkpoint; errors name the file.

    Raises ModelNotFoundError, ModelFormatError, and CapabilityError if a library is not installed.
    """
    return _LOADERS[spec.type](folder, spec)


def _path(folder: Path, name: str | None) -> Path:
    return folder / cast("str", name)  # which from_json has seen to


_LOADERS: dict[str, Callable[[Path, TokenizerSpec], Tokenizer]] = {
    "words": lambda folder, spec: WordTokenizer.from_file(_path(folder, spec.file), spec.names),
    "characters": lambda folder, spec: CharacterTokenizer.from_file(
        _path(folder, spec.file), spec.names
    ),
    "bytes": lambda _folder, _spec: ByteTokenizer(),
    "huggingface": lambda folder, spec: HuggingFaceTokenizer.from_file(
        _path(folder, spec.file), spec.names
    ),
    "sentencepiece": lambda folder, spec: SentencePieceTokenizer.from_file(
        _path(folder, spec.file), spec.names
    ),
    "subword-nmt": lambda folder, spec: SubwordNmtTokenizer.from_files(
        _path(folder, spec.file), _path(folder, spec.codes_file), spec.names
    ),
}
