"""What the service asks for texts: a place in a model's loop, and items as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from lmscore.models.decoding.parameters import Decoding
from lmscore.models.decoding.text_batch import Event, Prompt, Token
from lmscore.models.language_model import LanguageModel, Texts
from lmscore.server.generation.call import Call, Mark, Wanted
from lmscore.server.generation.loop import GenerationLoop
from lmscore.server.generation.places import Places
from lmscore.server.scheduler import Scheduler, told_to_callers


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How many may generate at once, and who waits for whom; by model."""

    max_sequences: int
    max_waiting: int
    max_prefill_tokens: int
    max_unwritten_tokens: int


@dataclass(frozen=True, slots=True)
class PromptCounts:
    """What the model's tokenizer made of a prompt."""

    tokens: int
    oov: int


class Generation:
    """A call that has its place."""

    def __init__(self, call: Call, served: _Served, counts: PromptCounts) -> None:
        self._call = call
        self._served = served
        self.counts = counts

    async def events(self, most_tokens: int) -> AsyncIterator[list[Event]]:
        """What has happened since the last time, at first perhaps nothing but that it was read.

        What is asked for next counts as written. Raises what the model raised.
        """
        while True:
            items = await self._call.items(most_tokens)
            events: list[Event] = []
            for item in items:
                if isinstance(item, Exception):
                    with told_to_callers():
                        raise item
                if not isinstance(item, Mark):
                    events.append(item)
            if events or Mark.READ in items:
                yield events
            self._call.written(sum(isinstance(event, Token) for event in events))
            if Mark.ENDED in items:
                return
            if Mark.PAUSED in items:
                await self._served.go_on(self._call)


class Generator:
    """The loops of all models that generate; for the event loop only."""

    def __init__(self, scheduler: Scheduler, settings: GenerationSettings) -> None:
        self._scheduler = scheduler
        self._settings = settings
        self._served: dict[int, _Served] = {}  # by the model's id()
        self._numbers = count()

    @property
    def active_sequences(self) -> int:
        """Texts that get a token with the next steps; a beam search counts as one."""
        return sum(served.loop.active_sequences for served in self._served.values())

    @property
    def waiting_calls(self) -> int:
        """Calls that have no place: new ones, and those whose reader is slow."""
        return sum(served.places.waiting for served in self._served.values())

    @asynccontextmanager
    async def generation(
        self, model: LanguageModel[Any], prompt: str, settings: Decoding, *, seed: int, bos: bool
    ) -> AsyncIterator[Generation]:
        """Continue a prompt, until this is left.

        Raises TooManyGenerationsError, or UnsupportedError for a model that can only score.
        """
        with told_to_callers():
            model.text_decoder(b"")
        texts = Texts.from_strings([prompt])
        tokens = await self._scheduler.tokenize(model, texts)
        start = np.array([model.vocabulary.bos_id] if bos else [], np.int64)
        wanted = Wanted(
            Prompt(next(self._numbers), prompt.encode(), tokens.token_ids, settings, seed),
            np.concatenate((start, tokens.token_ids)),
        )
        served = self._of(model)
        call = Call(wanted)
        await served.begin(call)
        try:
            counts = PromptCounts(len(tokens.token_ids), int(tokens.oov.sum()))
            yield Generation(call, served, counts)
        finally:
            served.end(call)

    def close(self) -> None:
        """Begin no further steps."""
        for served in self._served.values():
            served.loop.close()

    def _of(self, model: LanguageModel[Any]) -> _Served:
        served = self._served.get(id(model))
        if served is None:
            served = self._served[id(model)] = _Served(model, self._scheduler, self._settings)
        return served


class _Served:
    """A model's loop and the places in it."""

    def __init__(
        self, model: LanguageModel[Any], scheduler: Scheduler, settings: GenerationSettings
    ) -> None:
        self._event_loop = asyncio.get_running_loop()
        self.places = Places(settings.max_sequences, settings.max_waiting)
        self.loop = GenerationLoop(
            model,
            partial(scheduler.submit, model),
            self._wake_later,
            max_prefill_tokens=settings.max_prefill_tokens,
            max_unwritten_tokens=settings.max_unwritten_tokens,
        )

    async def begin(self, call: Call) -> None:
        """Wait for a place, and join."""
        await self.places.enter(call.wanted.rows)
        call.has_rows = True
        self.loop.join(call)

    async def go_on(self, call: Call) -> None:
        """Join again, once there is a place."""
        self._see(call)
        call.paused = False
        await self.places.return_from_pause(call.wanted.rows)
        call.has_rows = True
        self.loop.go_on(call)

    def end(self, call: Call) -> None:
        """Leave, wherever it is."""
        self.loop.leave(call)
        self._see(call)
        self._free(call)
        if call.paused:
            call.paused = False
            self.places.paused -= 1

    def _see(self, call: Call) -> None:
        """Take the rows of a call that needs none any more, or for now."""
        if call.pauses_seen < call.pauses:
            call.pauses_seen = call.pauses
            call.has_rows, call.paused = False, True
            self.places.pause(call.wanted.rows)
        if call.over:
            self._free(call)

    def _free(self, call: Call) -> None:
        if call.has_rows:
            call.has_rows = False
            self.places.leave(call.wanted.rows)

    def _wake_later(self, calls: list[Call]) -> None:
        self._event_loop.call_soon_threadsafe(self._wake, calls)

    def _wake(self, calls: list[Call]) -> None:
        for call in calls:
            self._see(call)
            call.wake()
