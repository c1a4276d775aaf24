"""The tokenizer of an imported network: from the vocabulary given to the files of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmscore.models.compression import open_model_file
from lmscore.models.errors import CapabilityError, ModelFormatError
from lmscore.models.network.importers.sources import Source
from lmscore.models.network.importers.special_tokens import SpecialTokens, find_specials
from lmscore.models.network.importers.word_list import WordList, corpus_words, read_word_list
from lmscore.models.tokenization.spec import TokenizerSpec, TokenizerType

_VOCABULARY_FILE = "vocab.txt"
_CODES_FILE = "codes.txt"
_ESPNET_CONFIGURATION = "config.yaml"
_ESPNET_BLANK = "<space>"  # among characters
_CHARACTER_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}  # as vocab.txt writes them


@dataclass(frozen=True, slots=True)
class VocabularyOptions:
    """Where the tokens of a network are, and what they are."""

    file: Path | None = None
    corpus: tuple[Path, ...] = ()
    tokenizer: TokenizerType | None = None  # None: told by the file, else words
    codes: Path | None = None  # of subword-nmt
    special: SpecialTokens = field(default_factory=SpecialTokens)


@dataclass(frozen=True, slots=True)
class ImportedTokenizer:
    """What a checkpoint holds of a tokenizer, and where that is from."""

    spec: TokenizerSpec
    files: dict[str, bytes]
    tokens: list[str]  # by id
    style: str
    path: Path  # that was read


def read_tokenizer(
    checkpoint: Path, source: Source, rows: int, options: VocabularyOptions
) -> ImportedTokenizer:
    """The tokenizer for a network with an embedding of so many rows.

    Raises ModelFormatError for a vocabulary of another size, and where there is none.
    """
    if options.corpus:
        return _of_words(options.corpus[0], corpus_words(options.corpus), source, rows, options)
    path = options.file or _beside(checkpoint, source)
    if path is None:
        raise ModelFormatError(checkpoint, _no_vocabulary(rows))
    if options.tokenizer == "huggingface" or (options.tokenizer is None and path.suffix == ".json"):
        tokens = _huggingface_tokens(path)
        return _of_file("huggingface", "tokenizer.json", tokens, path, rows, source, options)
    if options.tokenizer == "sentencepiece" or (
        options.tokenizer is None and path.suffix == ".model"
    ):
        tokens = _sentencepiece_tokens(path)
        return _of_file("sentencepiece", "tokenizer.model", tokens, path, rows, source, options)
    return _of_words(path, read_word_list(path, rows), source, rows, options)


def _beside(checkpoint: Path, source: Source) -> Path | None:
    """The configuration that ESPnet2 keeps with its networks."""
    path = checkpoint.parent / _ESPNET_CONFIGURATION
    return path if source.embedding.startswith("lm.") and path.exists() else None


def _no_vocabulary(rows: int) -> str:
    return (
        f"has no vocabulary; its embedding has {rows} rows. Give the file that tells which token "
        "is which row: --vocabulary FILE, or for networks that count words by their first "
        "appearance --corpus FOLDER with the train.txt, valid.txt and test.txt of the training"
    )


def _of_words(
    path: Path, words: WordList, source: Source, rows: int, options: VocabularyOptions
) -> ImportedTokenizer:
    kind = options.tokenizer or "words"
    tokens = words.tokens
    if kind == "characters":  # a blank is a token, and no word list can hold it
        tokens = [" " if token == _ESPNET_BLANK else token for token in tokens]
    _check_size(path, tokens, rows, words.style)
    # Kaldi's pytorchnn ends every line with <s>, and has </s> in its list without ever using it.
    is_kaldi = words.style == "words with ids" and source.boundary == "either" and "<s>" in tokens
    boundary = "bos" if is_kaldi else source.boundary
    special = find_specials(path, tokens, options.special, boundary)
    codes = _codes(path, options) if kind == "subword-nmt" else {}
    spec = TokenizerSpec(
        kind, _VOCABULARY_FILE, next(iter(codes), None), special.bos, special.eos, special.unk
    )
    lines = tokens
    if kind == "characters":
        lines = [_CHARACTER_ESCAPES.get(token, token) for token in tokens]
    files = codes | {_VOCABULARY_FILE: "".join(f"{line}\n" for line in lines).encode()}
    return ImportedTokenizer(spec, files, tokens, words.style, path)


def _codes(path: Path, options: VocabularyOptions) -> dict[str, bytes]:
    if options.codes is None:
        raise ModelFormatError(path, "subword-nmt needs its merges too: --codes FILE")
    return {_CODES_FILE: _read(options.codes)}


def _of_file(
    kind: TokenizerType,
    name: str,
    tokens: list[str],
    path: Path,
    rows: int,
    source: Source,
    options: VocabularyOptions,
) -> ImportedTokenizer:
    """A tokenizer whose file is taken as it is."""
    _check_size(path, tokens, rows, kind)
    special = find_specials(path, tokens, options.special, source.boundary)
    spec = TokenizerSpec(kind, name, None, special.bos, special.eos, special.unk)
    return ImportedTokenizer(spec, {name: _read(path)}, tokens, kind, path)


def _check_size(path: Path, tokens: Sequence[str], rows: int, style: str) -> None:
    if len(tokens) != rows:
        first, last = ", ".join(tokens[:5]), ", ".join(tokens[-2:])
        raise ModelFormatError(
            path, f"read as {style}, has {len(tokens)} tokens ({first} … {last}), but the "
            f"network's embedding has {rows} rows: it is not this network's vocabulary"
        )  # fmt: skip


def _huggingface_tokens(path: Path) -> list[str]:
    try:
        settings = json.loads(_read(path))
        vocabulary: Any = settings["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: pieces with scores
            vocabulary = {piece: i for i, (piece, _) in enumerate(vocabulary)}
        ids = {i: token for token, i in vocabulary.items()}
        ids |= {token["id"]: token["content"] for token in settings["added_tokens"]}
        return [str(ids.get(i, "")) for i in range(max(ids, default=-1) + 1)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelFormatError(path, "not a tokenizer.json") from None


def _sentencepiece_tokens(path: Path) -> list[str]:
    data = _read(path)
    try:
        import sentencepiece
    except ModuleNotFoundError:
        message = f"{path}: needs sentencepiece: pip install 'lmscore[server]'"
        raise CapabilityError(message) from None
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=data)
    except RuntimeError as error:
        raise ModelFormatError(path, f"not a SentencePiece model: {error}") from None
    return [model.id_to_piece(i) for i in range(model.get_piece_size())]


def _read(path: Path) -> bytes:
    with open_model_file(path) as file:
        return file.read()
