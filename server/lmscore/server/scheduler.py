"""Runs model work on threads, bounded, so that the event loop never waits for a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from lmscore.models.distribution import Distributions, EventDetails, event_details, predict
from lmscore.models.errors import CapabilityError, ModelFormatError
from lmscore.models.language_model import (
    BatchScores,
    LanguageModel,
    ScoreBatch,
    Texts,
    TokenArrays,
    TokenizedTexts,
)
from lmscore.server.errors import CorruptModelError, OverloadedError, UnsupportedError

_RETRY_AFTER_SECONDS = 0.1  # a full queue of n-gram work is gone in less

BYTES_OF_ITEM = 64
"""What an item costs besides its text: many empty ones fill the queue too."""

Result = TypeVar("Result")


class Scheduler:
    """A queue, bounded in bytes of input, in front of threads that work.

    Work whose caller has gone (cancelled, deadline passed) leaves the queue without being done.
    """

    def __init__(self, threads: int, max_queued_bytes: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="model")
        self._max_queued_bytes = max_queued_bytes
        self._queued_bytes = 0  # waiting or running; touched on the event loop only

    async def score(self, model: LanguageModel[Any], batch: ScoreBatch) -> BatchScores:
        """Score a batch; OverloadedError if too much is waiting already."""
        size = int(batch.items.offsets[-1]) + BYTES_OF_ITEM * len(batch.items)
        if batch.contexts is not None:
            size += int(batch.contexts.offsets[-1])
        if isinstance(batch.items, Texts) and size <= model.quick_bytes:
            with _told_to_callers():
                return model.score(batch)  # a thread would take longer to wake up
        return await self._submit(size, model.score, batch)

    async def details(
        self, model: LanguageModel[Any], batch: ScoreBatch, events: TokenArrays, k: int
    ) -> EventDetails:
        """What a model expected in the place of each event.

        Raises OverloadedError, or UnsupportedError for a model that can only score.
        """
        return await self._submit(len(events.token_ids), event_details, model, batch, events, k)

    async def predict(
        self, model: LanguageModel[Any], prompts: Texts, k: int, *, bos: bool
    ) -> Distributions:
        """What may follow each prompt; raises as details does."""
        work = partial(predict, model, prompts, k, bos=bos)
        return await self._submit(int(prompts.offsets[-1]), work)

    async def tokenize(self, model: LanguageModel[Any], texts: Texts) -> TokenizedTexts:
        """Split texts; OverloadedError if too much is waiting already."""
        return await self._submit(int(texts.offsets[-1]), model.tokenize, texts)

    async def run(self, work: Callable[..., Result], *args: object) -> Result:
        """Do what a request needs besides the model's work, away from the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    def close(self) -> None:
        """Drop what is queued and wait for what runs."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _submit(self, size: int, work: Callable[..., Result], *args: object) -> Result:
        if self._queued_bytes and self._queued_bytes + size > self._max_queued_bytes:
            raise OverloadedError(self._queued_bytes, _RETRY_AFTER_SECONDS)
        self._queued_bytes += size
        future = self._pool.submit(work, *args)
        # Released when the work ends, not when the caller leaves: what is running cannot be taken
        # back, and its memory is in use until then.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release, size))
        with _told_to_callers():
            return await asyncio.wrap_future(future)

    def _release(self, size: int) -> None:
        self._queued_bytes -= size


@contextmanager
def _told_to_callers() -> Iterator[None]:
    """Turn what a model says it cannot do into errors with a status."""
    try:
        yield
    except CapabilityError as error:
        raise UnsupportedError(str(error)) from None
    except ModelFormatError as error:
        raise CorruptModelError(str(error)) from None
