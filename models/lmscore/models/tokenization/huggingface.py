"""Hugging Face ``tokenizer.json``: BPE, Unigram, WordPiece and WordLevel."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lmscore.models.errors import CapabilityError, ModelFormatError
from lmscore.models.language_model import Texts, TokenizedTexts
from lmscore.models.text_decoder import TextDecoder
from lmscore.models.tokenization.decoder import BytesDecoder, WindowDecoder
from lmscore.models.tokenization.offsets import (
    as_strings,
    characters_to_bytes,
    flat_ids,
    flat_spans,
    in_order,
    offsets_of,
    tokenized,
)
from lmscore.models.tokenization.tokenizer import (
    NO_ID,
    SpecialIds,
    SpecialNames,
    Tokenizer,
    TokenizerKind,
    TokenVocabulary,
)
from lmscore.models.tokenization.vocabulary_file import read_model_file


class HuggingFaceTokenizer(Tokenizer):
    """The pieces of a tokenizer.json, without those that it would put around a text.

    A special token that a text spells out is split as text, and unknown if all the same it becomes
    the one that stands before a text. What the library can spell neither in pieces nor as unknown,
    it leaves out.
    """

    kind: ClassVar[TokenizerKind] = "subwords"

    def __init__(self, library_tokenizer: Any, special_ids: SpecialIds) -> None:
        """The tokenizer is the library's, and becomes this one's own."""
        self._tokenizer = library_tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        settings = json.loads(self._tokenizer.to_str())
        tokens = _tokens_by_id(self._tokenizer.get_vocab())
        self._vocabulary = TokenVocabulary(tokens, special_ids)
        self._unknown = np.array(list({special_ids.unk, _unknown_id(settings["model"], tokens)}))
        self._silent = _special_ids(settings) - set(self._unknown.tolist())
        self._silent |= {special_ids.bos, special_ids.eos}
        decoders = _decoders(settings["decoder"])
        self._piece_bytes = _byte_pieces(tokens) if decoders == ["ByteLevel"] else None
        self._bytes = _fallback_bytes(tokens) if "ByteFallback" in decoders else {}

    @classmethod
    def from_file(cls, path: Path, names: SpecialNames) -> HuggingFaceTokenizer:
        """The tokenizer of a file; where names has no unk, the file's own is.

        Raises ModelNotFoundError, ModelFormatError, and CapabilityError without the library.
        """
        try:
            from tokenizers import Tokenizer as LibraryTokenizer
        except ModuleNotFoundError:
            raise CapabilityError(
                f"{path}: needs tokenizers: pip install 'lmscore[server]'"
            ) from None
        data = read_model_file(path)
        try:
            tokenizer = LibraryTokenizer.from_str(data.decode())
        except Exception as error:  # noqa: BLE001 the library raises nothing more specific
            raise ModelFormatError(path, f"not a tokenizer.json: {error}") from None
        vocabulary = tokenizer.get_vocab()
        ids = names.ids(path, vocabulary)
        if names.unk is None:
            model = json.loads(data)["model"]
            ids = SpecialIds(ids.bos, ids.eos, _unknown_id(model, _tokens_by_id(vocabulary)))
        return cls(tokenizer, ids)

    @property
    def vocabulary(self) -> TokenVocabulary:
        """The pieces as the file writes them, by id."""
        return self._vocabulary

    def encode(self, texts: Texts) -> TokenizedTexts:
        """The pieces; an empty one where a normalization has made several out of a character."""
        encodings = self._tokenizer.encode_batch(as_strings(texts), add_special_tokens=False)
        pieces = [encoding.ids for encoding in encodings]
        offsets = offsets_of(pieces)
        ids = flat_ids(pieces, int(offsets[-1]))
        spans = flat_spans([encoding.offsets for encoding in encodings], len(ids))
        spans = in_order(texts, offsets, characters_to_bytes(texts, offsets, spans))
        if self._vocabulary.bos_id != self._vocabulary.eos_id:  # which a text can only spell
            ids[ids == self._vocabulary.bos_id] = self._vocabulary.unk_id
        return tokenized(offsets, ids, spans, np.isin(ids, self._unknown))

    def decode(self, token_ids: Sequence[int]) -> bytes:
        """The text, as the library's decoder joins pieces.

        Bytes that stand for themselves are joined here, so that one that is no UTF-8 spoils no
        character beside it.
        """
        if self._piece_bytes is not None:
            return b"".join(map(self._bytes_of_piece, token_ids))
        return self._join(token_ids).encode()

    def text_decoder(self, prompt: bytes) -> TextDecoder:
        """Turns pieces that continue a prompt into text."""
        if self._piece_bytes is not None:
            return BytesDecoder(self._bytes_of_piece)
        prompt_ids = self._tokenizer.encode(prompt.decode(), add_special_tokens=False).ids
        return WindowDecoder(prompt, prompt_ids, self._join, self._bytes.get)

    def _bytes_of_piece(self, token_id: int) -> bytes:
        if self._piece_bytes is None or not 0 <= token_id < len(self._piece_bytes):
            raise IndexError(token_id)
        return b"" if token_id in self._silent else self._piece_bytes[token_id]

    def _join(self, token_ids: Sequence[int]) -> str:
        pieces = list(self._pieces([i for i in token_ids if i not in self._silent]))
        decoder = self._tokenizer.decoder
        joined: str = decoder.decode(pieces) if decoder is not None else " ".join(pieces)
        return joined

    def _pieces(self, token_ids: Sequence[int]) -> Iterator[str]:
        """The pieces, and instead of bytes in a row the text that they are."""
        for are_bytes, group in groupby(token_ids, self._bytes.__contains__):
            if are_bytes:
                yield bytes(self._bytes[i] for i in group).decode(errors="replace")
            else:
                yield from self._vocabulary.tokens(list(group))


def _tokens_by_id(vocabulary: Mapping[str, int]) -> list[str]:
    """The pieces by id; an id without one, which no text has, is empty."""
    tokens = [""] * (max(vocabulary.values(), default=-1) + 1)
    for token, token_id in vocabulary.items():
        tokens[token_id] = token
    return tokens


def _unknown_id(model: Mapping[str, Any], tokens: Sequence[str]) -> int:
    """The id that a model has for what it does not know, or NO_ID."""
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    name = model.get("unk_token")
    return tokens.index(name) if name in tokens else NO_ID


def _special_ids(settings: Mapping[str, Any]) -> set[int]:
    return {token["id"] for token in settings["added_tokens"] if token["special"]}


def _decoders(decoder: Mapping[str, Any] | None) -> list[str]:
    """The kinds of the steps of a decoder."""
    if decoder is None:
        return []
    if decoder["type"] == "Sequence":
        return [kind for step in decoder["decoders"] for kind in _decoders(step)]
    return [decoder["type"]]


def _fallback_bytes(tokens: Sequence[str]) -> dict[int, int]:
    """The bytes that pieces like ``<0x0A>`` are, by id."""
    names = {f"<0x{byte:02X}>": byte for byte in range(256)}
    return {i: names[token] for i, token in enumerate(tokens) if token in names}


def _byte_pieces(tokens: Sequence[str]) -> list[bytes]:
    """The bytes that each piece spells, by id; one that spells none is its own text."""
    bytes_by_letter = _byte_letters()
    return [
        bytes(bytes_by_letter[letter] for letter in token)
        if bytes_by_letter.keys() >= set(token)
        else token.encode()
        for token in tokens
    ]


def _byte_letters() -> dict[str, int]:
    """The letters with which GPT-2 writes bytes: some as themselves, others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + i): byte for i, byte in enumerate(others)
    }
