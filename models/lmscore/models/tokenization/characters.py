"""Characters: every code point is a token, blanks included."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import ModelFormatError
from lmscore.models.language_model import Texts, TokenizedTexts
from lmscore.models.tokenization.decoder import BytesDecoder
from lmscore.models.tokenization.tokenizer import (
    NO_ID,
    SpecialIds,
    SpecialNames,
    Tokenizer,
    TokenizerKind,
    TokenVocabulary,
)
from lmscore.models.tokenization.vocabulary_file import ids_of, read_lines

_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\\\": "\\"}
_NO_TEXT = re.compile("<.+>")  # such as <pad>, a row of a network that no text has
_REPLACEMENT = "\ufffd"


class CharacterTokenizer(Tokenizer):
    """Code points of a vocabulary; every other one is unknown.

    A character that is bos or unk is unknown in a text; one that is eos, such as a line feed, is
    met as any other.
    """

    kind: ClassVar[TokenizerKind] = "characters"

    def __init__(self, tokens: Sequence[str], special_ids: SpecialIds) -> None:
        """Tokens by id, all different: characters, special tokens, and others like ``<pad>``."""
        self._vocabulary = TokenVocabulary(tokens, special_ids)
        self._special = {special_ids.bos, special_ids.eos, special_ids.unk}
        self._ids = _lookup(tokens, self._special - {special_ids.eos})

    @classmethod
    def from_file(cls, path: Path, names: SpecialNames) -> CharacterTokenizer:
        r"""The tokenizer of a vocab.txt, a character a line, with \n, \r, \t and \\ for some.

        Raises ModelNotFoundError, ModelFormatError.
        """
        special = {names.bos, names.eos, names.unk}
        lines = read_lines(path)
        tokens = [line if line in special else _ESCAPES.get(line, line) for line in lines]
        for number, token in enumerate(tokens, 1):
            if len(token) != 1 and token not in special and not _NO_TEXT.fullmatch(token):
                problem = f'"{token}": neither one character nor bos, eos or unk'
                raise ModelFormatError(path, problem, line=number)
        return cls(tokens, names.ids(path, ids_of(path, tokens)))

    @property
    def vocabulary(self) -> TokenVocabulary:
        """The characters, by id."""
        return self._vocabulary

    def encode(self, texts: Texts) -> TokenizedTexts:
        """The code points."""
        starts = character_starts(texts)
        offsets = np.searchsorted(starts, texts.offsets)
        text_starts = np.repeat(texts.offsets[:-1], np.diff(offsets))
        places = np.append(
            starts, texts.data.size
        )  # where each character begins, and the last ends
        points = np.frombuffer(texts.data.tobytes().decode().encode("utf-32-le"), np.uint32)
        ids = self._ids[np.minimum(points, len(self._ids) - 1)]
        return TokenizedTexts(
            offsets,
            np.where(ids == NO_ID, self._vocabulary.unk_id, ids),
            starts - text_starts,
            places[1:] - text_starts,
            ids == NO_ID,
        )

    def decode(self, token_ids: Sequence[int]) -> bytes:
        """The characters, U+FFFD for an unknown one."""
        return b"".join(map(self._text, token_ids))

    def text_decoder(self, prompt: bytes) -> BytesDecoder:  # noqa: ARG002 whatever the prompt is
        """Turns characters into text."""
        return BytesDecoder(self._text)

    def _text(self, token_id: int) -> bytes:
        if token_id in {NO_ID, self._vocabulary.unk_id}:
            return _REPLACEMENT.encode()
        return b"" if token_id in self._special else self._vocabulary.token(token_id).encode()


def character_starts(texts: Texts) -> NDArray[np.int64]:
    """Where in the buffer each code point begins: (characters,)."""
    return np.flatnonzero((texts.data & 0xC0) != 0x80)


def _lookup(tokens: Sequence[str], never: set[int]) -> NDArray[np.int64]:
    """Ids by code point up to the largest, NO_ID for others and, at the end, for all beyond."""
    ids = {ord(token): i for i, token in enumerate(tokens) if len(token) == 1 and i not in never}
    table = np.full(max(ids, default=0) + 2, NO_ID, np.int64)
    table[list(ids)] = list(ids.values())
    return table
