"""From tokens to bytes, one token at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from lmscore.models.language_model import WORD_SEPARATORS
from lmscore.models.vocabulary import Vocabulary

_SEPARATORS = frozenset(WORD_SEPARATORS.tolist())


class TextDecoder(Protocol):
    """Turns the tokens of one text into its bytes, which may be parts of characters."""

    def push(self, token_id: int) -> bytes:
        """The bytes that a token adds; special tokens add none."""
        ...

    def finish(self) -> bytes:
        """The bytes that were waiting for another token."""
        ...


DecoderFactory: TypeAlias = Callable[[bytes], TextDecoder]
"""Makes the decoder of a text that continues a prompt."""


class WordDecoder:
    """Words with a blank before each, but not at the beginning of a text or after a separator."""

    def __init__(self, vocabulary: Vocabulary, prompt: bytes = b"") -> None:
        self._vocabulary = vocabulary
        self._silent = {vocabulary.bos_id, vocabulary.eos_id}
        self._after_word = bool(prompt) and prompt[-1] not in _SEPARATORS

    def push(self, token_id: int) -> bytes:
        """The word, after a blank where one belongs."""
        if token_id in self._silent:
            return b""
        word = self._vocabulary.token(token_id).encode()
        blank = b" " if self._after_word else b""
        self._after_word = True
        return blank + word

    def finish(self) -> bytes:
        """Nothing: a word waits for none."""
        return b""
