"""What is told to whoever measures the work."""

from __future__ import annotations

from typing import Protocol


class WorkObserver(Protocol):
    """Is told of work as it goes on, from the event loop and from threads that work.

    Its methods must return at once and never raise. A model's name may be empty.
    """

    def batch(self, model: str, requests: int, tokens: int, compute_seconds: float) -> None:
        """One piece of work is done: several requests scored as one, or one."""

    def queued(self, model: str, seconds: float) -> None:
        """A request has waited for so long, and its work begins."""

    def depth(self, queue: str, requests: int, tokens: int) -> None:
        """So much waits or runs now; the queue is ngram or network."""

    def wasted(self, model: str, tokens: int) -> None:
        """Tokens were computed for a caller that had left, or too late."""

    def refused(self, reason: str) -> None:
        """A request was refused, or a stream was told to wait, for want of room or time."""
