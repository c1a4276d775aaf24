"""What the service asks for texts: a place in a model's loop, and items as they come."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any
from weakref import WeakSet

import numpy as np

from lmscore.models.decoding.parameters import Decoding
from lmscore.models.decoding.text_batch import Event, Prompt, Token
from lmscore.models.language_model import LanguageModel, Texts
from lmscore.server.call import current_call
from lmscore.server.errors import TooManyGenerationsError
from lmscore.server.generation.call import Call, Mark, Wanted
from lmscore.server.generation.loop import GenerationLoop
from lmscore.server.generation.places import Places
from lmscore.server.scheduling.scheduler import Scheduler, told_to_callers


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How many may generate at once, and who waits for whom; by model."""

    max_sequences: int
    max_waiting: int
    max_prefill_tokens: int
    max_unwritten_tokens: int
    message_interval_seconds: float  # between two messages of a call at least


@dataclass(frozen=True, slots=True)
class PromptCounts:
    """What the model's tokenizer made of a prompt."""

    tokens: int
    oov: int


@dataclass(frozen=True, slots=True)
class Load:
    """How much a model has to generate."""

    model: LanguageModel[Any]
    active: int  # texts that get a token with the next steps; a beam search counts as one
    waiting: int  # calls without a place


class Generation:
    """A call that has its place."""

    def __init__(
        self, call: Call, served: _Served, counts: PromptCounts, message_interval_seconds: float
    ) -> None:
        self._call = call
        self._interval = message_interval_seconds
        self._served = served
        self.counts = counts

    async def events(self, most_tokens: int) -> AsyncIterator[list[Event]]:
        """What has happened since the last time, at first perhaps nothing but that it was read.

        What is asked for next counts as written. Raises what the model raised.
        """
        next_at = -math.inf
        while True:
            await self._call.news()
            if (early := next_at - time.monotonic()) > 0:
                await asyncio.sleep(early)  # more comes meanwhile, for little more than one token
            items = self._call.take(most_tokens)
            next_at = time.monotonic() + self._interval if len(items) < most_tokens else -math.inf
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
        self._retired = WeakSet[LanguageModel[Any]]()
        self._numbers = count()

    @property
    def active_sequences(self) -> int:
        """Texts that get a token with the next steps; a beam search counts as one."""
        return sum(served.active_sequences for served in self._served.values())

    @property
    def waiting_calls(self) -> int:
        """Calls that have no place: new ones, and those whose reader is slow."""
        return sum(served.places.waiting for served in self._served.values())

    def loads(self) -> list[Load]:
        """How much each model has to do that has generated."""
        return [
            Load(each.model, each.active_sequences, each.places.waiting)
            for each in self._served.values()
        ]

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
        call = Call(wanted, current_call())
        served.calls += 1
        try:
            await served.begin(call)
        except BaseException:
            self._leave(model, served)
            raise
        try:
            counts = PromptCounts(len(tokens.token_ids), int(tokens.oov.sum()))
            yield Generation(call, served, counts, self._settings.message_interval_seconds)
        finally:
            served.end(call)
            self._leave(model, served)

    def retire(self, model: LanguageModel[Any]) -> None:
        """Keep no reference to a model once the calls that have it are done."""
        self._retired.add(model)
        served = self._served.get(id(model))
        if served is not None and not served.calls:
            self._drop(model, served)

    def close(self) -> None:
        """Begin no further steps."""
        for served in self._served.values():
            served.close()

    def _of(self, model: LanguageModel[Any]) -> _Served:
        served = self._served.get(id(model))
        if served is None:
            served = self._served[id(model)] = _Served(model, self._scheduler, self._settings)
        return served

    def _leave(self, model: LanguageModel[Any], served: _Served) -> None:
        served.calls -= 1
        if not served.calls and model in self._retired:
            self._drop(model, served)

    def _drop(self, model: LanguageModel[Any], served: _Served) -> None:
        self._served.pop(id(model), None)
        served.release()


class _Served:
    """A model's loops and the places in them.

    A model that does not take the whole machine has a loop for each thread: its rows gain nothing
    from one another.
    """

    def __init__(
        self, model: LanguageModel[Any], scheduler: Scheduler, settings: GenerationSettings
    ) -> None:
        self.model = model
        self._event_loop = asyncio.get_running_loop()
        self._observer = scheduler.observer
        self.places = Places(settings.max_sequences, settings.max_waiting)
        self._rows: dict[GenerationLoop, int] = {}  # of the calls that each has
        for _ in range(1 if model.exclusive else scheduler.threads):
            loop = GenerationLoop(
                model,
                partial(scheduler.submit, model),
                self._wake_later,
                max_prefill_tokens=settings.max_prefill_tokens,
                max_unwritten_tokens=settings.max_unwritten_tokens,
            )
            self._rows[loop] = 0
        self._loops: dict[int, GenerationLoop] = {}  # by number of the call
        self.calls = 0  # those that wait for a place included

    @property
    def active_sequences(self) -> int:
        return sum(loop.active_sequences for loop in self._rows)

    def close(self) -> None:
        for loop in self._rows:
            loop.close()

    def release(self) -> None:
        """Let go of the loops, which hold this; without calls, none takes another turn."""
        self._rows.clear()

    async def begin(self, call: Call) -> None:
        """Wait for a place, and join."""
        queued_before = call.origin.queue_seconds
        try:
            await self.places.enter(call.wanted.rows)
        except TooManyGenerationsError as error:
            self._observer.refused(error.reason)
            raise
        waited = call.origin.queue_seconds - queued_before
        self._observer.queued(call.origin.model, waited)
        call.has_rows = True
        loop = min(self._rows, key=lambda each: self._rows[each])
        self._rows[loop] += call.wanted.rows
        self._loops[call.number] = loop
        loop.join(call)

    async def go_on(self, call: Call) -> None:
        """Join again, once there is a place."""
        self._see(call)
        call.paused = False
        await self.places.return_from_pause(call.wanted.rows)
        call.has_rows = True
        self._loops[call.number].go_on(call)

    def end(self, call: Call) -> None:
        """Leave, wherever it is."""
        loop = self._loops.pop(call.number)
        self._rows[loop] -= call.wanted.rows
        loop.leave(call)
        self._see(call)
        self._free(call)
        if call.paused:
            call.paused = False
            self.places.paused -= 1
        call.origin.spent(compute_seconds=call.compute_seconds)
        if call.unwritten:
            self._observer.wasted(call.origin.model, call.unwritten)

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
