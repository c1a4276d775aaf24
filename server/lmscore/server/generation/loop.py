"""The loop of one model: texts join at the next step and leave the moment they end.

A turn takes in who came and who left, reads some of the prompts, and gives every text one more
token, or several if steps are quick and nobody comes or leaves. Turns run on the model's thread
one after the other, with other work between two of them, and never wait for the event loop; there
is none while there is nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import Any, TypeAlias

import numpy as np

from lmscore.models.decoding.batch import StepResult, Suspended
from lmscore.models.decoding.text_batch import Finished, TextBatch
from lmscore.models.language_model import LanguageModel
from lmscore.server import call as server
from lmscore.server.call import Priority
from lmscore.server.generation.call import Call, Item, Mark
from lmscore.server.generation.prompts import PromptReader
from lmscore.server.memory import within_memory
from lmscore.server.scheduling.scheduler import Turn

_TURN_SECONDS = 0.002
"""A turn of quick steps: waking threads up for each of them would take as long as they do."""

Submit: TypeAlias = Callable[[Turn], object]
"""Has a thread do a turn when it is due."""


class GenerationLoop:
    """The texts of one model's calls."""

    def __init__(
        self,
        model: LanguageModel[Any],
        submit: Submit,
        wake: Callable[[list[Call]], None],
        *,
        max_prefill_tokens: int,
        max_unwritten_tokens: int,
    ) -> None:
        """Wake is told on the thread which calls were given items."""
        self._model = model
        self._submit = submit
        self._wake = wake
        self._max_prefill_tokens = max_prefill_tokens
        self._max_unwritten_tokens = max_unwritten_tokens
        self._lock = Lock()
        self._commands: list[Callable[[], None]] = []
        self._origins: dict[int, server.Call] = {}  # by number; changed with the lock held
        self._running = False
        self._closed = False
        self._turn_seconds = 0.0  # of the last turn
        self._begin()

    def _begin(self) -> None:
        """Have no calls."""
        self._calls: dict[int, Call] = {}  # by number
        self._prompts = PromptReader(self._model)
        self._batch = TextBatch(self._model)
        self._suspended: dict[int, Suspended[Any]] = {}  # by number
        self._news: dict[int, Call] = {}  # calls that were given items in this turn

    @property
    def active_sequences(self) -> int:
        """Texts that get a token with the next step; a beam search counts as one."""
        return self._batch.sequences

    def join(self, call: Call) -> None:
        """Let a call take part from the next step on."""
        with self._lock:
            self._origins[call.number] = call.origin
        self._tell(partial(self._join, call))

    def leave(self, call: Call) -> None:
        """Let a call take no part any more, whether it has ended or not."""
        with self._lock:
            self._origins.pop(call.number, None)
        self._tell(partial(self._leave, call.number))

    def go_on(self, call: Call) -> None:
        """Let a paused call take part again."""
        self._tell(partial(self._go_on, call.number))

    def close(self) -> None:
        """Begin no further turn."""
        self._closed = True

    def _tell(self, command: Callable[[], None]) -> None:
        with self._lock:
            self._commands.append(command)
            if self._running or self._closed:
                return
            self._running = True
        self._submit(self._next_turn())

    def _next_turn(self) -> Turn:
        """A turn that is as urgent as the most urgent call."""
        with self._lock:
            origins = list(self._origins.values())
        urgent = any(origin.priority is Priority.INTERACTIVE for origin in origins)
        priority = Priority.INTERACTIVE if urgent or not origins else Priority.BULK
        callers = len({origin.caller for origin in origins})
        lane = f"generation {id(self)}"
        return Turn(self._turn, lane, callers, priority, self._turn_seconds)

    def _turn(self) -> None:
        started = time.perf_counter()
        self._do_turn()
        self._turn_seconds = time.perf_counter() - started
        for call in (self._calls | self._news).values():  # those that ended are news
            call.compute_seconds += self._turn_seconds
        self._tell_news()
        with self._lock:
            busy = bool(self._commands or len(self._prompts) or len(self._batch))
            self._running = busy and not self._closed
        if self._running:
            self._submit(self._next_turn())

    def _do_turn(self) -> None:
        try:
            within_memory(self._advance)
        except Exception as error:  # noqa: BLE001 - a bug here ends calls, but not the loop
            calls, news = list(self._calls.values()), self._news
            self._begin()
            self._news = news
            for call in calls:
                self._give(call, error)

    def _advance(self) -> None:
        self._take_commands()
        self._read_prompts()
        started = time.perf_counter()
        self._step()
        while self._undisturbed() and time.perf_counter() - started < _TURN_SECONDS:
            self._step()

    def _undisturbed(self) -> bool:
        """Whether texts can grow on and nobody has come or left meanwhile."""
        return bool(len(self._batch)) and not (self._commands or len(self._prompts))

    def _take_commands(self) -> None:
        with self._lock:
            commands, self._commands = self._commands, []
        for command in commands:
            command()

    def _join(self, call: Call) -> None:
        self._calls[call.number] = call
        self._prompts.add(call)

    def _leave(self, number: int) -> None:
        if self._calls.pop(number, None) is None:
            return
        self._prompts.remove(number)
        self._suspended.pop(number, None)
        self._batch.leave([number])

    def _go_on(self, number: int) -> None:
        suspended = self._suspended.pop(number, None)
        if suspended is not None:
            self._batch.resume(suspended)

    def _read_prompts(self) -> None:
        if len(self._prompts):
            shares = self._prompts.shares(self._max_prefill_tokens)
            self._read([call for call in self._prompts.calls() if call.number in shares], shares)

    def _read(self, calls: Sequence[Call], shares: dict[int, int]) -> None:
        """Read some prompts, at least one; those alone that cannot be read have failed."""
        try:
            done, states = within_memory(self._prompts.read, shares, calls)
        except Exception as error:  # noqa: BLE001 - a call's status says it
            if len(calls) == 1:
                self._fail(calls, error)
                return
            half = len(calls) // 2
            self._read(calls[:half], shares)
            self._read(calls[half:], shares)
        else:
            self._start(done, states)

    def _start(self, calls: Sequence[Call], states: Any) -> None:
        """Let the texts of calls join, from the states after their prompts."""
        try:
            within_memory(self._batch.join, states, [call.wanted.prompt for call in calls])
        except Exception as error:  # noqa: BLE001 - a call's status says it
            if len(calls) == 1:
                self._fail(calls, error)
                return
            half = len(calls) // 2
            for part in (slice(0, half), slice(half, None)):
                rows = np.arange(len(calls))[part]
                self._start(calls[part], self._model.gather(states, rows))
        else:
            for call in calls:
                self._give(call, Mark.READ)

    def _step(self) -> None:
        if not len(self._batch):
            return
        ended = []
        for result in self._results():
            for event in self._batch.events(result):
                self._give(self._calls[event.place.prompt], event)
                if isinstance(event, Finished) and not self._batch.has(event.place.prompt):
                    ended.append(event.place.prompt)
        self._pause_those_behind()
        for number in dict.fromkeys(ended):
            self._give(self._calls.pop(number), Mark.ENDED)

    def _results(self) -> list[StepResult]:
        """A step of the whole batch; those calls alone that cannot take it have failed."""
        try:
            return [within_memory(self._batch.step)]
        except Exception as error:  # noqa: BLE001 - a call's status says it
            numbers = self._batch.numbers()
            if len(numbers) == 1:
                self._fail([self._calls[numbers[0]]], error)
                return []
        others = self._batch.suspend(numbers[len(numbers) // 2 :])
        results = self._results()
        done = self._batch.suspend(self._batch.numbers())
        self._batch.resume(others)
        results += self._results()
        self._batch.resume(done)
        return results

    def _pause_those_behind(self) -> None:
        """Let calls wait whose readers are too slow, with their texts as they are."""
        for call in list(self._news.values()):
            if call.unwritten >= self._max_unwritten_tokens and self._batch.has(call.number):
                self._suspended[call.number] = self._batch.suspend([call.number])
                call.pauses += 1
                self._give(call, Mark.PAUSED)

    def _fail(self, calls: Sequence[Call], error: Exception) -> None:
        for call in calls:
            self._leave(call.number)
            self._give(call, error)

    def _give(self, call: Call, item: Item) -> None:
        call.give(item)
        self._news[call.number] = call

    def _tell_news(self) -> None:
        if self._news:
            self._wake(list(self._news.values()))
            self._news = {}
