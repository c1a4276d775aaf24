"""Bytes: 256 tokens that can spell every text, and one for its beginning and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from lmscore.models.language_model import Texts, TokenizedTexts
from lmscore.models.tokenization.decoder import BytesDecoder
from lmscore.models.tokenization.tokenizer import (
    NO_ID,
    SpecialIds,
    Tokenizer,
    TokenizerKind,
    TokenVocabulary,
)
from lmscore.models.vocabulary import EOS

_END = 256  # stands before a text, and ends it


class ByteTokenizer(Tokenizer):
    """A byte is its own id; ``</s>`` is 256. Nothing is unknown."""

    kind: ClassVar[TokenizerKind] = "bytes"

    def __init__(self) -> None:
        names = [*map(_name, range(256)), EOS]
        self._vocabulary = TokenVocabulary(names, SpecialIds(_END, _END, NO_ID))

    @property
    def vocabulary(self) -> TokenVocabulary:
        """The bytes; those that are not printable ASCII are written like ``<0x0A>``."""
        return self._vocabulary

    def encode(self, texts: Texts) -> TokenizedTexts:
        """The bytes."""
        text_starts = np.repeat(texts.offsets[:-1], np.diff(texts.offsets))
        begins = np.arange(texts.data.size) - text_starts
        return TokenizedTexts(
            texts.offsets,
            texts.data.astype(np.int64),
            begins,
            begins + 1,
            np.zeros(texts.data.size, np.bool_),
        )

    def decode(self, token_ids: Sequence[int]) -> bytes:
        """The bytes, which may be no UTF-8."""
        return b"".join(map(self._text, token_ids))

    def text_decoder(self, prompt: bytes) -> BytesDecoder:  # noqa: ARG002 whatever the prompt is
        """Turns bytes into whole characters."""
        return BytesDecoder(self._text)

    @staticmethod
    def _text(token_id: int) -> bytes:
        if not 0 <= token_id <= _END:
            raise IndexError(token_id)
        return b"" if token_id == _END else bytes([token_id])


def _name(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F else f"<0x{byte:02X}>"
