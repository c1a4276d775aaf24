"""From tokens to text, one token at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod


class TextDecoder(ABC):
    """Turns the tokens that continue a prompt into text; one for each generation.

    All that push and finish return is, joined, what the tokens add to the prompt. It comes in whole
    characters; where tokens are bytes, what is no UTF-8 becomes U+FFFD.
    """

    @abstractmethod
    def push(self, token_id: int) -> bytes:
        """What is final once this token follows; may be nothing."""

    @abstractmethod
    def finish(self) -> bytes:
        """What was held back, when no token follows any more."""
