"""Tokens by id and ids by token, with the three that have a meaning of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

BOS = "<s>"  # stands before a text; context, never an event
EOS = "</s>"  # scored after a text
UNK = "<unk>"  # every token that the vocabulary lacks


class Vocabulary(Protocol):
    """The tokens of a model. Ids are 0 … len - 1.

    One token may be both bos and eos, and so an event; unk_id is -1 where there is none.
    """

    bos_id: int
    eos_id: int
    unk_id: int

    def __len__(self) -> int: ...

    def token(self, token_id: int) -> str:
        """The token's text; bytes that are not UTF-8 show as U+FFFD."""
        ...

    def tokens(self, token_ids: Sequence[int]) -> list[str]:
        """The texts of many tokens."""
        ...

    def id(self, token: str) -> int:
        """The token's id; unk_id for one that is not here, and for ``<s>``, never an event."""
        ...
