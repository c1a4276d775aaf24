"""What every tokenizer is: bytes to tokens with their places, and tokens to bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from lmscore.models.language_model import Texts, TokenizedTexts

NO_ID = -1
"""The id of a token that a vocabulary does not have."""


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """The ids with a meaning of their own; bos and eos may be the same, unk may be NO_ID."""

    bos: int  # stands before a text
    eos: int  # scored after a text
    unk: int  # every token that the vocabulary lacks


class TokenVocabulary:
    """The tokens of a tokenizer by id; a Vocabulary."""

    def __init__(self, tokens: Sequence[str], special_ids: SpecialIds) -> None:
        self._tokens = list(tokens)
        self._ids = {token: i for i, token in reversed(list(enumerate(self._tokens)))}
        self.bos_id, self.eos_id, self.unk_id = special_ids.bos, special_ids.eos, special_ids.unk

    def __len__(self) -> int:
        return len(self._tokens)

    def token(self, token_id: int) -> str:
        """The token's text; IndexError for an id that is not here."""
        if token_id < 0:
            raise IndexError(token_id)
        return self._tokens[token_id]

    def tokens(self, token_ids: Sequence[int]) -> list[str]:
        """The texts of many tokens."""
        return [self.token(token_id) for token_id in token_ids]

    def id(self, token: str) -> int:
        """The token's id; unk_id for one that is not here."""
        return self._ids.get(token, self.unk_id)


TokenizerKind = Literal["words", "characters", "bytes", "subwords"]


class Tokenizer(ABC):
    """Splits texts; the same bytes give the same tokens on every thread and machine."""

    kind: ClassVar[TokenizerKind]

    @property
    @abstractmethod
    def vocabulary(self) -> TokenVocabulary:
        """The tokens, by id."""

    @abstractmethod
    def encode(self, texts: Texts) -> TokenizedTexts:
        """Tokens with their places in bytes of each text, without ``<s>`` and ``</s>``.

        Tokens follow each other in the text and do not overlap; what no token covers is separators.
        """

    @abstractmethod
    def decode(self, token_ids: Sequence[int]) -> bytes:
        """The text of tokens: that which encode splits into them, up to what it normalizes.

        Special tokens have no text. Bytes may be no whole UTF-8 where tokens are bytes.
        """
