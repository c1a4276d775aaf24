"""Threads that work, and the queue in front of them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition, Thread, current_thread
from typing import Any, cast

from lmscore.models.interruption import interruptible
from lmscore.server.call import Priority
from lmscore.server.errors import DeadlinePassedError, DeadlineTooShortError
from lmscore.server.scheduling.entry import Entry, JointEntry, compute_together
from lmscore.server.scheduling.fair_queue import FairQueue
from lmscore.server.scheduling.load import Backlog, Load, QueueLimits
from lmscore.server.scheduling.observer import WorkObserver
from lmscore.server.scheduling.rates import Throughput, retry_delay

_POOL_RETRY_SECONDS = 0.1
_NETWORK_RETRY_SECONDS = 1.0
"""When to try again before it is known how fast work is done."""

_AT_ONCE_SECONDS = 0.05
"""Work that ends within this time is never refused for want of time."""

_DOUBT = 1.5
"""How much longer than the time left work has to take, as measured, to be refused."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How much is scored as one, and how long to wait for it."""

    max_tokens: int = 8192
    max_requests: int = 256
    max_delay_seconds: float = 0.0


class Workers:
    """Threads that take from one fair queue.

    With batching, entries that wait for the same model, and ask for the same, are done as one when
    the first of them has its turn: that takes a network little longer than the largest of them.
    Those that fail as one are done one by one, so that a failure is told only to whom it is about.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        limits: QueueLimits,
        observer: WorkObserver,
        batching: Batching | None = None,
    ) -> None:
        self._name = name
        self._most_threads = threads
        self._observer = observer
        self._batching = batching
        self._changed = Condition()  # everything below is touched with it held
        self._waiting: FairQueue[Entry] = FairQueue()
        self._backlog = Backlog(limits)
        self._rate = Throughput()
        self._loaded_rate = Throughput()  # of work that shows how fast it can be done
        self._threads: list[Thread] = []
        self._idle = 0  # threads that wait and were not told to go on
        self._closed = False

    def waiting(self, priority: Priority) -> int:
        """Entries of a class that nobody has begun; may be old news."""
        return self._waiting.of_class(priority)

    @property
    def cost_per_second(self) -> float | None:
        """What a thread gets done in a second; None until enough has been measured."""
        return self._rate.per_second

    def submit(self, entry: Entry) -> None:
        """Have the work done when it has its turn.

        Raises OverloadedError if too much waits, or DeadlineTooShortError if it could not be done
        in time; work that is not counted always gets in.
        """
        with self._changed:
            if self._closed:
                entry.future.cancel()
                return
            if entry.counted:
                self._check_room(entry)
                self._check_time(entry)
                self._backlog.add(entry.call, entry.load)
            self._waiting.add(entry)
            if current_thread() in self._threads and len(self._waiting) == 1:
                return  # it takes this next: waking another up would have the two take turns
            if self._idle:
                self._idle -= 1
                self._changed.notify()
            elif len(self._threads) < self._most_threads:
                self._start_thread()
        self._tell_depth(entry)

    async def result(self, entry: Entry) -> Any:
        """What the work gives; raises what it raised, and what submit raises."""
        self.submit(entry)
        try:
            return await asyncio.wrap_future(entry.future)
        except asyncio.CancelledError:
            self._leave(entry)
            raise
        finally:
            entry.call.spent(
                queue_seconds=max(0.0, entry.started_at - entry.queued_at),
                compute_seconds=entry.compute_seconds,
                requests=entry.companions,
            )

    def close(self) -> None:
        """Drop what waits, and wait until what runs has ended or asked whether to go on."""
        with self._changed:
            self._closed = True
            dropped = self._waiting.clear()
            for entry in dropped:
                self._release(entry)
            self._changed.notify_all()
        for entry in dropped:
            entry.future.cancel()
        for thread in self._threads:
            thread.join()

    def _start_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        self._threads.append(Thread(target=self._work, name=name, daemon=True))
        self._threads[-1].start()

    # --- who gets in ---

    def _check_room(self, entry: Entry) -> None:
        excess = self._backlog.excess(entry.call, entry.load)
        if excess is not None:
            part, unit = excess
            rate = self._rate.per_second
            delay = _POOL_RETRY_SECONDS if self._batching is None else _NETWORK_RETRY_SECONDS
            if rate is not None:
                delay = part * self._backlog.total.cost / (rate * self._most_threads)
            raise self._backlog.refusal(unit, retry_delay(delay))

    def _check_time(self, entry: Entry) -> None:
        remaining, rate = entry.call.remaining_seconds, self._loaded_rate.per_second
        if remaining <= 0:
            raise DeadlinePassedError
        if math.isinf(remaining) or rate is None or not len(self._waiting):
            return
        seconds = self._waiting.ahead(entry.call, entry.cost) / (rate * self._most_threads)
        if seconds > max(remaining * _DOUBT, _AT_ONCE_SECONDS):
            raise DeadlineTooShortError(remaining, seconds, retry_delay(seconds - remaining))

    def _leave(self, entry: Entry) -> None:
        entry.left = True
        with self._changed:
            if not self._waiting.remove(entry):
                return  # it runs, and its memory is in use until it asks whether it is wanted
            entry.started_at = time.monotonic()
            self._release(entry)
        self._tell_depth(entry)

    def _release(self, entry: Entry) -> None:
        if entry.counted:
            self._backlog.remove(entry.call, entry.load)

    def _tell_depth(self, entry: Entry) -> None:
        if entry.counted:
            total: Load = self._backlog.total
            self._observer.depth(self._name, total.requests, total.tokens)

    # --- the threads ---

    def _work(self) -> None:
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """Do what has its turn, and let go of it; False when there will be no more."""
        entries = self._next()
        if entries is None:
            return False
        wanted = [entry for entry in entries if entry.begin()]
        computed = [entry for entry in wanted if not entry.expired()]
        if computed:
            self._compute(computed)
        self._account(entries, computed)
        for entry in wanted:
            entry.tell()
        return True

    def _next(self) -> list[Entry] | None:
        """The entry whose turn it is, and those that are scored with it; None when closed."""
        with self._changed:
            while not self._closed:
                entry = self._waiting.peek()
                patience = self._patience(entry) if entry is not None else None
                if entry is not None and patience is None:
                    return self._take(entry)
                self._idle += 1
                if not self._changed.wait(patience):
                    self._idle = max(0, self._idle - 1)
        return None

    def _patience(self, entry: Entry) -> float | None:
        """How long to wait for company of what has its turn, if at all."""
        batching = self._batching
        if batching is None or not batching.max_delay_seconds or entry.key is None:
            return None
        total = self._backlog.total
        if total.tokens >= batching.max_tokens or total.requests >= batching.max_requests:
            return None
        seconds = entry.queued_at + batching.max_delay_seconds - time.monotonic()
        return seconds if seconds > 0 else None

    def _take(self, entry: Entry) -> list[Entry]:
        entries = [entry, *self._companions(entry)]
        for each in entries:
            self._waiting.take(each)
        return entries

    def _companions(self, first: Entry) -> list[Entry]:
        if self._batching is None or first.key is None or len(self._waiting) == 1:
            return []
        companions: list[Entry] = []
        tokens = first.load.tokens
        for entry in self._waiting.companions(first, lambda other: other.key == first.key):
            if len(companions) + 1 >= self._batching.max_requests:
                break
            if tokens + entry.load.tokens <= self._batching.max_tokens:
                tokens += entry.load.tokens
                companions.append(entry)
        return companions

    def _compute(self, entries: Sequence[Entry]) -> None:
        def unwanted() -> bool:
            return self._closed or all(entry.unwanted for entry in entries)

        with interruptible(unwanted):
            if len(entries) > 1:
                compute_together(cast(list[JointEntry], entries))  # as all with a key
            else:
                entries[0].compute()
        ended = time.monotonic()
        for entry in entries:
            entry.compute_seconds, entry.companions = ended - entry.started_at, len(entries)

    def _account(self, entries: Sequence[Entry], computed: Sequence[Entry]) -> None:
        """Make room, and count what was done, before anybody is told of it."""
        with self._changed:
            if computed and all(entry.succeeded and entry.measured for entry in computed):
                self._measure(sum(entry.cost for entry in computed), computed[0].compute_seconds)
            for entry in entries:
                self._release(entry)
        self._tell_depth(entries[0])
        done = [entry for entry in computed if entry.counted]
        for entry in done:
            self._observer.queued(entry.call.model, entry.started_at - entry.queued_at)
            if entry.unwanted and entry.succeeded:
                self._observer.wasted(entry.call.model, entry.tokens)
        if done:
            tokens = sum(entry.tokens for entry in done)
            seconds = done[0].compute_seconds
            self._observer.batch(done[0].call.model, len(done), tokens, seconds)

    def _measure(self, cost: float, seconds: float) -> None:
        self._rate.add(cost, seconds)
        # A network does small batches slowly, and would do many of them as one.
        if self._batching is None or cost >= self._batching.max_tokens / 4:
            self._loaded_rate.add(cost, seconds)
