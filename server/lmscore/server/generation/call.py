"""One call of Generate: what it wants, and the events that wait to be written."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmscore.models.decoding.parameters import Beam
from lmscore.models.decoding.text_batch import Event, Prompt, Token
from lmscore.server import call as server


class Mark(Enum):
    """What happens to a call besides events of its texts."""

    READ = auto()  # its prompt
    PAUSED = auto()  # as many tokens wait as may; nothing comes until it is told to go on
    ENDED = auto()


Item: TypeAlias = Event | Mark | Exception


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be continued, and from which tokens."""

    prompt: Prompt
    ids: NDArray[np.int64]  # (tokens,) to be read, ``<s>`` included where it is wanted

    @property
    def rows(self) -> int:
        """Rows of a batch that it may take."""
        settings = self.prompt.settings
        if isinstance(settings.strategy, Beam):
            return settings.strategy.width
        return settings.num_sequences


class Call:
    """Items go from the thread that generates to the event loop, in their order.

    What each side writes the other one only reads.
    """

    def __init__(self, wanted: Wanted, origin: server.Call) -> None:
        self.wanted = wanted
        self.origin = origin  # for the event loop only, besides what never changes of it
        self.compute_seconds = 0.0  # of turns that it took part in, by the thread
        self.number = wanted.prompt.number
        self.pauses = 0  # by the thread, so far
        self.pauses_seen = 0  # by the event loop
        self.has_rows = False  # by the event loop
        self.paused = False  # by the event loop: has no rows for now, and is in no line
        self.over = False  # by the thread: nothing comes any more
        self._items: deque[Item] = deque()
        self._given = 0  # tokens, by the thread
        self._written = 0  # tokens, by the event loop
        self._news = asyncio.Event()

    @property
    def unwritten(self) -> int:
        """Tokens that were given and have not been written."""
        return self._given - self._written

    def give(self, item: Item) -> None:
        """Let an item wait to be written. For the thread, which wakes the event loop later."""
        self._given += isinstance(item, Token)
        self.over = self.over or item is Mark.ENDED or isinstance(item, Exception)
        self._items.append(item)

    def wake(self) -> None:
        """Say that items wait. For the event loop."""
        self._news.set()

    async def news(self) -> None:
        """Wait until items wait."""
        while not self._items:
            self._news.clear()
            if not self._items:  # or one came before
                await self._news.wait()

    def take(self, most: int) -> list[Item]:
        """The items that wait; no more than so many."""
        return [self._items.popleft() for _ in range(min(most, len(self._items)))]

    def written(self, tokens: int) -> None:
        """Say that tokens have been written."""
        self._written += tokens
