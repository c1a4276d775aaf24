"""Runs model work on threads, bounded, so that the event loop never waits for a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any, TypeVar

from lmscore.models.distribution import Distributions, EventDetails, event_details, predict
from lmscore.models.error_detection.checking import CheckedTexts, CheckSettings, check_texts
from lmscore.models.errors import CapabilityError, ModelFormatError
from lmscore.models.interruption import interruptible
from lmscore.models.language_model import (
    BatchScores,
    LanguageModel,
    ScoreBatch,
    Texts,
    TokenArrays,
    TokenizedTexts,
)
from lmscore.server.errors import CorruptModelError, UnsupportedError
from lmscore.server.memory import within_memory
from lmscore.server.merging import size_of
from lmscore.server.work_queue import SingleWorker, WorkQueue

_POOL_RETRY_SECONDS = 0.1  # a full queue of n-gram work is gone in less
_NETWORK_RETRY_SECONDS = 1.0

Result = TypeVar("Result")


class Scheduler:
    """Queues, bounded in bytes of input, in front of threads that work.

    Models that take the whole machine, which networks do, have one thread and one queue for them
    all; other work has a pool and a queue of its own, and never waits for theirs. Work whose caller
    has gone (cancelled, deadline passed) leaves its queue without being done; a network gives it up
    between two pieces of it.
    """

    def __init__(self, threads: int, max_queued_bytes: int, max_merged_bytes: int = 8192) -> None:
        """max_queued_bytes is of each queue, max_merged_bytes of batches that are scored as one."""
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="model")
        self._worker = SingleWorker(max_merged_bytes)
        self._pool_queue = WorkQueue(max_queued_bytes, _POOL_RETRY_SECONDS)
        self._worker_queue = WorkQueue(max_queued_bytes, _NETWORK_RETRY_SECONDS)

    async def score(self, model: LanguageModel[Any], batch: ScoreBatch) -> BatchScores:
        """Score a batch; OverloadedError if too much is waiting already."""
        size = size_of(batch)
        with told_to_callers():
            if isinstance(batch.items, Texts) and size <= model.quick_bytes:
                # A thread would take longer to wake up.
                return within_memory(model.score, batch)
            if not model.exclusive:
                return await self._on_pool(size, partial(model.score, batch))
            score = partial(self._worker.score, model, batch)
            return await self._worker_queue.result(size, score)

    async def details(
        self, model: LanguageModel[Any], batch: ScoreBatch, events: TokenArrays, k: int
    ) -> EventDetails:
        """What a model expected in the place of each event.

        Raises OverloadedError, or UnsupportedError for a model that can only score.
        """
        work = partial(event_details, model, batch, events, k)
        return await self._submit(model, len(events.token_ids), work)

    async def predict(
        self, model: LanguageModel[Any], prompts: Texts, k: int, *, bos: bool
    ) -> Distributions:
        """What may follow each prompt; raises as details does."""
        work = partial(predict, model, prompts, k, bos=bos)
        return await self._submit(model, int(prompts.offsets[-1]), work)

    async def check(
        self, model: LanguageModel[Any], batch: ScoreBatch, settings: CheckSettings
    ) -> CheckedTexts:
        """Look for errors in texts; raises as details does."""
        return await self._submit(
            model, size_of(batch), partial(check_texts, model, batch, settings)
        )

    async def tokenize(self, model: LanguageModel[Any], texts: Texts) -> TokenizedTexts:
        """Split texts; OverloadedError if too much is waiting already."""
        with told_to_callers():  # a tokenizer does not take the whole machine
            return await self._on_pool(int(texts.offsets[-1]), partial(model.tokenize, texts))

    def submit(self, model: LanguageModel[Any], work: Callable[[], None]) -> None:
        """Have the model's thread do some work when it has its turn; it must not raise."""
        if model.exclusive:
            self._worker.submit(work, Event())  # its callers come and go
        else:
            self._pool.submit(work)

    async def run(self, work: Callable[..., Result], *args: object) -> Result:
        """Do what a request needs besides the model's work, away from the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    def close(self) -> None:
        """Drop what is queued and wait for what runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._worker.close()
        self._pool.shutdown(wait=True)

    async def _submit(
        self, model: LanguageModel[Any], size: int, work: Callable[[], Result]
    ) -> Result:
        with told_to_callers():
            if not model.exclusive:
                return await self._on_pool(size, work)
            return await self._worker_queue.result(size, partial(self._worker.submit, work))

    async def _on_pool(self, size: int, work: Callable[[], Result]) -> Result:
        def while_wanted(left: Event) -> Result:
            with interruptible(left.is_set):
                return within_memory(work)

        def submit(left: Event) -> Future[Result]:
            return self._pool.submit(while_wanted, left)

        return await self._pool_queue.result(size, submit)


@contextmanager
def told_to_callers() -> Iterator[None]:
    """Turn what a model says it cannot do into errors with a status."""
    try:
        yield
    except CapabilityError as error:
        raise UnsupportedError(str(error)) from None
    except ModelFormatError as error:
        raise CorruptModelError(str(error)) from None
