"""Runs model work on threads, bounded and fair, so that the event loop never waits for a model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from lmscore.models.distribution import Distributions, EventDetails, event_details
from lmscore.models.error_detection.checking import CheckedTexts, CheckSettings, check_texts
from lmscore.models.errors import CapabilityError, ModelFormatError
from lmscore.models.language_model import (
    BatchScores,
    LanguageModel,
    ScoreBatch,
    Texts,
    TokenArrays,
    TokenizedTexts,
)
from lmscore.server.call import Call, Priority, current_call
from lmscore.server.errors import CorruptModelError, ServiceError, UnsupportedError
from lmscore.server.memory import within_memory
from lmscore.server.observer import Observer
from lmscore.server.scheduling.entry import Entry, PredictEntry, ScoreEntry
from lmscore.server.scheduling.load import Load, QueueLimits
from lmscore.server.scheduling.merging import size_of, text_bytes
from lmscore.server.scheduling.observer import WorkObserver
from lmscore.server.scheduling.rates import TokenEstimates
from lmscore.server.scheduling.workers import Batching, Workers

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of texts of many calls."""

    work: Callable[[], None]  # must not raise
    lane: str  # stands for their callers, and is of nobody else
    callers: int
    priority: Priority
    last_seconds: float  # the turn before took

    def cost(self, cost_per_second: float | None) -> float:
        """What else could be done in the time that it will probably take, a caller."""
        return self.last_seconds * (cost_per_second or 0.0) / max(self.callers, 1)


class Scheduler:
    """Fair queues, bounded, in front of threads that work.

    Models that take the whole machine, which networks do, have one thread and one queue for them
    all; other work has a pool and a queue of its own, and never waits for theirs. Work whose caller
    has gone (cancelled, deadline passed) leaves its queue without being done; a network gives it up
    between two pieces of it. Work is done for the current call, with its priority and deadline.
    """

    def __init__(
        self,
        threads: int,
        limits: QueueLimits | None = None,
        batching: Batching | None = None,
        observer: WorkObserver | None = None,
    ) -> None:
        """The limits are of each queue; batching is of networks."""
        self.threads = threads
        self.observer: WorkObserver = observer or Observer()
        limits = limits or QueueLimits()
        self._pool = Workers("ngram", threads, limits, self.observer)
        self._network = Workers("network", 1, limits, self.observer, batching or Batching())
        self._estimates = TokenEstimates()

    async def score(self, model: LanguageModel[Any], batch: ScoreBatch) -> BatchScores:
        """Score a batch; raises as details does."""
        size = size_of(batch)
        with told_to_callers():
            call = current_call()
            if self._at_once(model, batch, size, call):
                return self._score_here(model, batch, call)
            entry = ScoreEntry(call, model, batch, self._load_of(model, batch, size))
            scores = cast("BatchScores", await self._result(model, entry))
        self._learn(model, batch, int(scores.token_counts.sum()))
        return scores

    async def details(
        self, model: LanguageModel[Any], batch: ScoreBatch, events: TokenArrays, k: int
    ) -> EventDetails:
        """What a model expected in the place of each event.

        Raises OverloadedError, DeadlineTooShortError or DeadlinePassedError for want of room or
        time, or UnsupportedError for a model that can only score.
        """
        work = partial(event_details, model, batch, events, k)
        count = len(events.token_ids)
        entry = Entry(current_call(), work, Load(1, count, count))
        return cast("EventDetails", await self._told(model, entry))

    async def predict(
        self, model: LanguageModel[Any], prompts: Texts, k: int, *, bos: bool
    ) -> Distributions:
        """What may follow each prompt; raises as details does."""
        load = self._load(model, prompts)
        entry = PredictEntry(current_call(), model, prompts, k, load, bos=bos)
        return cast("Distributions", await self._told(model, entry))

    async def check(
        self, model: LanguageModel[Any], batch: ScoreBatch, settings: CheckSettings
    ) -> CheckedTexts:
        """Look for errors in texts; raises as details does."""
        work = partial(check_texts, model, batch, settings)
        entry = Entry(current_call(), work, self._load_of(model, batch, size_of(batch)))
        return cast("CheckedTexts", await self._told(model, entry))

    async def tokenize(self, model: LanguageModel[Any], texts: Texts) -> TokenizedTexts:
        """Split texts; raises as details does."""
        with told_to_callers():  # a tokenizer does not take the whole machine
            entry = Entry(current_call(), partial(model.tokenize, texts), self._load(model, texts))
            return cast("TokenizedTexts", await self._refusing(self._pool, entry))

    def submit(self, model: LanguageModel[Any], turn: Turn) -> None:
        """Have the model's thread do a turn of its texts when that is due."""
        workers = self._of(model)
        call = Call("Generate", turn.lane, turn.priority)
        entry = Entry(call, turn.work, Load(1), turn.cost(workers.cost_per_second) or None)
        entry.counted = entry.measured = False  # its calls have places, which are
        workers.submit(entry)

    async def run(self, work: Callable[..., Result], *args: object) -> Result:
        """Do what a request needs besides the model's work, away from the event loop."""
        entry = Entry(current_call(), partial(work, *args), Load(1))
        entry.counted = entry.measured = False  # what it needs is there already
        return cast("Result", await self._pool.result(entry))

    def close(self) -> None:
        """Drop what is queued and wait for what runs."""
        self._network.close()
        self._pool.close()

    def _at_once(self, model: LanguageModel[Any], batch: ScoreBatch, size: int, call: Call) -> bool:
        """Whether a thread would take longer to wake up, and nobody more urgent waits for one."""
        if not isinstance(batch.items, Texts) or size > model.quick_bytes:
            return False
        return call.priority is Priority.INTERACTIVE or not self._pool.waiting(Priority.INTERACTIVE)

    def _score_here(self, model: LanguageModel[Any], batch: ScoreBatch, call: Call) -> BatchScores:
        started = time.monotonic()
        scores = within_memory(model.score, batch)
        seconds = time.monotonic() - started
        call.spent(compute_seconds=seconds)
        self.observer.batch(call.model, 1, int(scores.token_counts.sum()), seconds)
        return scores

    def _of(self, model: LanguageModel[Any]) -> Workers:
        return self._network if model.exclusive else self._pool

    async def _told(self, model: LanguageModel[Any], entry: Entry) -> Any:
        with told_to_callers():
            return await self._result(model, entry)

    async def _result(self, model: LanguageModel[Any], entry: Entry) -> Any:
        return await self._refusing(self._of(model), entry)

    async def _refusing(self, workers: Workers, entry: Entry) -> Any:
        try:
            return await workers.result(entry)
        except ServiceError as error:
            if getattr(error, "retry_after_seconds", None) is not None:
                self.observer.refused(error.reason)
            raise

    def _load(self, model: LanguageModel[Any], texts: Texts) -> Load:
        size = int(texts.offsets[-1])
        return Load(1, self._estimates.tokens(model, size) + len(texts), size)

    def _load_of(self, model: LanguageModel[Any], batch: ScoreBatch, size: int) -> Load:
        if isinstance(batch.items, Texts):
            count = self._estimates.tokens(model, text_bytes(batch))
        else:
            count = int(batch.items.offsets[-1])
        return Load(1, count + len(batch.items), size)

    def _learn(self, model: LanguageModel[Any], batch: ScoreBatch, tokens: int) -> None:
        if isinstance(batch.items, Texts) and batch.contexts is None:
            # The ends of texts are counted apart, and have no bytes.
            self._estimates.learn(model, text_bytes(batch), tokens - batch.eos * len(batch.items))


class told_to_callers:  # noqa: N801 - a context manager, used at every call
    """Turn what a model says it cannot do into errors with a status."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CapabilityError):
            raise UnsupportedError(str(error)) from None
        if isinstance(error, ModelFormatError):
            raise CorruptModelError(str(error)) from None
