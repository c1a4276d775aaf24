"""SentencePiece ``.model`` files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lmscore.models.errors import CapabilityError, ModelFormatError
from lmscore.models.language_model import Texts, TokenizedTexts
from lmscore.models.tokenization.decoder import WindowDecoder
from lmscore.models.tokenization.offsets import (
    as_bytes,
    flat_ids,
    flat_spans,
    in_order,
    offsets_of,
    tokenized,
)
from lmscore.models.tokenization.tokenizer import (
    SpecialIds,
    SpecialNames,
    Tokenizer,
    TokenizerKind,
    TokenVocabulary,
)
from lmscore.models.tokenization.vocabulary_file import read_model_file


class SentencePieceTokenizer(Tokenizer):
    """The pieces of a SentencePiece model; a blank belongs to the piece after it."""

    kind: ClassVar[TokenizerKind] = "subwords"

    def __init__(self, processor: Any, special_ids: SpecialIds) -> None:
        """The processor is the library's."""
        self._processor = processor
        everything = list(range(processor.get_piece_size()))
        self._vocabulary = TokenVocabulary(processor.id_to_piece(everything), special_ids)
        pieces = zip(everything, processor.is_byte(everything), strict=True)
        self._bytes = {
            i: int(processor.id_to_piece(i)[1:-1], 16) for i, is_byte in pieces if is_byte
        }
        self._silent = {special_ids.bos, special_ids.eos}
        self._unknown = np.array([special_ids.unk, processor.unk_id()])

    @classmethod
    def from_file(cls, path: Path, names: SpecialNames) -> SentencePieceTokenizer:
        """The tokenizer of a file; where names has no unk, the file's own is.

        Raises ModelNotFoundError, ModelFormatError, and CapabilityError without the library.
        """
        try:
            from sentencepiece import SentencePieceProcessor
        except ModuleNotFoundError:
            raise CapabilityError(
                f"{path}: needs sentencepiece: pip install 'lmscore[server]'"
            ) from None
        data = read_model_file(path)
        try:
            processor = SentencePieceProcessor(model_proto=data) if data else None
        except RuntimeError:
            processor = None
        if processor is None:
            raise ModelFormatError(path, "not a SentencePiece model")
        pieces = processor.id_to_piece(list(range(processor.get_piece_size())))
        ids = names.ids(path, {piece: i for i, piece in enumerate(pieces)})
        unk = processor.unk_id() if names.unk is None else ids.unk
        return cls(processor, SpecialIds(ids.bos, ids.eos, unk))

    @property
    def vocabulary(self) -> TokenVocabulary:
        """The pieces as the file writes them, by id."""
        return self._vocabulary

    def encode(self, texts: Texts) -> TokenizedTexts:
        """The pieces; an empty one where a normalization has made several out of a character."""
        # Given bytes, the library tells offsets in bytes; given a string, in characters.
        results = self._processor.encode(as_bytes(texts), out_type="offset_mapping", num_threads=1)
        pieces = [result["ids"] for result in results]
        offsets = offsets_of(pieces)
        ids = flat_ids(pieces, int(offsets[-1]))
        spans = flat_spans([result["offsets"] for result in results], len(ids))
        spans = in_order(texts, offsets, spans)
        return tokenized(offsets, ids, spans, np.isin(ids, self._unknown))

    def decode(self, token_ids: Sequence[int]) -> bytes:
        """The text, as the library joins pieces; an unknown one is U+2047 between blanks."""
        return self._join(token_ids).encode()

    def text_decoder(self, prompt: bytes) -> WindowDecoder:
        """Turns pieces that continue a prompt into text."""
        prompt_ids = self._processor.encode(prompt.decode(), out_type=int)
        return WindowDecoder(prompt, prompt_ids, self._join, self._bytes.get)

    def _join(self, token_ids: Sequence[int]) -> str:
        joined: str = self._processor.decode([i for i in token_ids if i not in self._silent])
        return joined
