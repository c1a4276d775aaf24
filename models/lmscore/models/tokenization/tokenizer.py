"""What every tokenizer is: bytes to tokens with their places, and tokens to bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from lmscore.models.errors import ModelFormatError
from lmscore.models.language_model import Texts, TokenizedTexts
from lmscore.models.text_decoder import TextDecoder
from lmscore.models.vocabulary import BOS, EOS, UNK

NO_ID = -1
"""The id of a token that a vocabulary does not have."""


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """The ids with a meaning of their own; bos and eos may be the same, unk may be NO_ID."""

    bos: int  # stands before a text
    eos: int  # scored after a text
    unk: int  # every token that the vocabulary lacks


@dataclass(frozen=True, slots=True)
class SpecialNames:
    """How a vocabulary writes them; unk is None where it has none."""

    bos: str = BOS
    eos: str = EOS
    unk: str | None = UNK

    def ids(self, path: Path, ids: Mapping[str, int]) -> SpecialIds:
        """Their ids in the vocabulary of a file; raises ModelFormatError for one without them."""
        return SpecialIds(
            _find(path, ids, "bos", self.bos),
            _find(path, ids, "eos", self.eos),
            NO_ID if self.unk is None else _find(path, ids, "unk", self.unk),
        )


def _find(path: Path, ids: Mapping[str, int], role: str, name: str) -> int:
    if name not in ids:
        hint = ", or null where there is none" if role == "unk" else ""
        raise ModelFormatError(path, f'no token "{name}"; say which is {role}{hint}')
    return ids[name]


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

        Tokens follow each other in the text and do not overlap; what no token covers is separators,
        or was left out by the tokenizer. Of tokens that share a character, the last covers it and
        the others are empty. An unknown token is flagged; its id is unk_id, which may be NO_ID.
        """

    @abstractmethod
    def decode(self, token_ids: Sequence[int]) -> bytes:
        """The text of tokens: that which encode splits into them, up to what it normalizes.

        ``<s>`` and ``</s>`` have no text; an unknown token has one that stands for it. Bytes may be
        no whole UTF-8 where tokens are bytes. Raises IndexError for an id that is not here.
        """

    @abstractmethod
    def text_decoder(self, prompt: bytes) -> TextDecoder:
        """Turns tokens that continue a prompt into text, one by one."""
