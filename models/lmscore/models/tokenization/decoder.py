"""Text as it grows: bytes that are final after each token of a generation."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Self

from lmscore.models.language_model import WORD_SEPARATORS
from lmscore.models.text_decoder import TextDecoder
from lmscore.models.vocabulary import Vocabulary

_SEPARATORS = WORD_SEPARATORS.tobytes()
_REPLACEMENT = "\ufffd"
_KEPT = 8  # units of text that a window keeps when it is shortened


class WordDecoder(TextDecoder):
    """Words: a blank before each unless nothing, or a separator, stands before it."""

    def __init__(self, prompt: bytes, text_of: Callable[[int], bytes]) -> None:
        """text_of gives a word, or nothing for a token without text."""
        self._text_of = text_of
        self._needs_blank = ends_in_word(prompt)

    @classmethod
    def of(cls, prompt: bytes, vocabulary: Vocabulary) -> Self:
        """That of a vocabulary whose special tokens but the unknown one have no text."""
        silent = {vocabulary.bos_id, vocabulary.eos_id}
        return cls(prompt, lambda i: b"" if i in silent else vocabulary.token(i).encode())

    def push(self, token_id: int) -> bytes:
        """The word, after a blank where it needs one."""
        word = self._text_of(token_id)
        if not word:
            return b""
        text = b" " + word if self._needs_blank else word
        self._needs_blank = True
        return text

    def finish(self) -> bytes:
        """Nothing: a word is final at once."""
        return b""


class BytesDecoder(TextDecoder):
    """Tokens that are some bytes each, whatever stands around them."""

    def __init__(self, bytes_of: Callable[[int], bytes]) -> None:
        self._bytes_of = bytes_of
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> bytes:
        """The characters that the token's bytes complete."""
        return self._characters.decode(self._bytes_of(token_id)).encode()

    def finish(self) -> bytes:
        """U+FFFD if a character is not complete."""
        return self._characters.decode(b"", final=True).encode()


class WindowDecoder(TextDecoder):
    """Tokens whose text depends on their neighbours: the last few are joined anew for each.

    A joining may treat the beginning of a text in a way of its own, and must otherwise be local:
    more tokens add to the text and change nothing in it but a U+FFFD at its end.
    """

    def __init__(
        self,
        prompt: bytes,
        prompt_ids: Sequence[int],
        join: Callable[[list[int]], str],
        byte_of: Callable[[int], int | None],
    ) -> None:
        """byte_of tells the byte of a token that is one, of which several make a character."""
        self._join = join
        self._byte_of = byte_of
        self._units = [[token_id] for token_id in prompt_ids[-_KEPT:]]  # characters, or tokens
        self._incomplete: list[int] = []  # tokens that are a character's first bytes
        before = join(list(prompt_ids[-_KEPT:]))
        self._shown = len(before)  # characters of the window that are returned already
        # A tokenizer may have left out the blank that ends the prompt: then it is there already.
        blank_lost = before != "" and ends_in_word(before.encode()) and not ends_in_word(prompt)
        self._skips_blank = blank_lost

    def push(self, token_id: int) -> bytes:
        """The text that the token adds, except for the beginning of a character."""
        if self._byte_of(token_id) is None:
            self._release(len(self._incomplete))
            self._units.append([token_id])
        else:
            self._incomplete.append(token_id)
            data = bytes(byte for i in self._incomplete if (byte := self._byte_of(i)) is not None)
            self._release(len(data) - open_bytes(data))
        return self._advance(final=False)

    def finish(self) -> bytes:
        """What was held back."""
        self._release(len(self._incomplete))
        return self._advance(final=True)

    def _release(self, count: int) -> None:
        """Let bytes that form characters, or never will, into the window."""
        if count:
            self._units.append(self._incomplete[:count])
            self._incomplete = self._incomplete[count:]

    def _advance(self, *, final: bool) -> bytes:
        text = self._joined(self._units)
        end = len(text) if final else len(text.removesuffix(_REPLACEMENT))
        new = text[self._shown : end]
        self._shown = max(self._shown, end)
        self._shorten(text)
        if new and self._skips_blank:
            new = new.removeprefix(" ")
            self._skips_blank = False
        return new.encode()

    def _joined(self, units: list[list[int]]) -> str:
        return self._join([token_id for unit in units for token_id in unit])

    def _shorten(self, text: str) -> None:
        """Forget the first units of the window, if the others are joined alike without them."""
        if len(self._units) < 2 * _KEPT:
            return
        rest = self._joined(self._units[-_KEPT:])
        shown = self._shown - (len(text) - len(rest))
        if rest.strip() and text.endswith(rest) and shown >= 0:
            self._units = self._units[-_KEPT:]
            self._shown = shown


def ends_in_word(text: bytes) -> bool:
    """Whether a word that follows needs a blank before it."""
    return text != b"" and text[-1] not in _SEPARATORS


def open_bytes(data: bytes) -> int:
    """How many of the last bytes may be the beginning of a character."""
    characters = codecs.getincrementaldecoder("utf-8")("replace")
    characters.decode(data)
    return len(characters.getstate()[0])
