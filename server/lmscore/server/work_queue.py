"""Threads that work, and the queues in front of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock
from typing import Any, TypeVar

from lmscore.models.interruption import interruptible
from lmscore.models.language_model import BatchScores, LanguageModel, ScoreBatch
from lmscore.server.errors import OverloadedError
from lmscore.server.memory import within_memory
from lmscore.server.merging import joined, merge_key, size_of, split

Result = TypeVar("Result")


class WorkQueue:
    """Bounds in bytes what waits or runs."""

    def __init__(self, max_bytes: int, retry_after_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._retry_after_seconds = retry_after_seconds
        self._bytes = 0  # waiting or running; touched on the event loop only

    async def result(self, size: int, submit: Callable[[Event], Future[Result]]) -> Result:
        """What work on so many bytes gives; OverloadedError if too much waits already.

        Submit is given what will be set if the caller leaves before the work is done.
        """
        if self._bytes and self._bytes + size > self._max_bytes:
            raise OverloadedError(self._bytes, self._retry_after_seconds)
        self._bytes += size
        left = Event()
        future = submit(left)
        # Released when the work ends, not when the caller leaves: what is running goes on until it
        # asks whether it is wanted, and its memory is in use until then.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release, size))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            left.set()
            raise

    def _release(self, size: int) -> None:
        self._bytes -= size


class _Job:
    """Work that waits for its turn."""

    def __init__(self, work: Callable[[], Any], left: Event) -> None:
        self.future: Future[Any] = Future()
        self.left = left
        self._work = work

    def begin(self) -> bool:
        """Whether it is still wanted, and runs from now on."""
        return self.future.set_running_or_notify_cancel()

    def run(self) -> None:
        """Do it, and tell who waits for it how that ended."""
        try:
            result = within_memory(self._work)
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class _ScoreJob(_Job):
    """A batch to score, perhaps together with others of the same key."""

    def __init__(self, model: LanguageModel[Any], batch: ScoreBatch, left: Event) -> None:
        super().__init__(lambda: model.score(batch), left)
        self.model, self.batch, self.size = model, batch, size_of(batch)
        self.key = merge_key(model, batch)


class SingleWorker:
    """One thread for models that each take the whole machine.

    Batches that wait for the same model, and ask for the same, are scored as one when the first of
    them has its turn: that takes a network little longer than the largest of them. Those that fail
    as one are scored one by one, so that a failure is told only to whom it is about.
    """

    def __init__(self, max_merged_bytes: int) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._max_merged_bytes = max_merged_bytes
        self._waiting: deque[_Job] = deque()
        self._closed = Event()
        self._lock = Lock()

    def submit(self, work: Callable[[], Result], left: Event) -> Future[Result]:
        """Do some work when it has its turn, unless its future is cancelled before.

        It is given up between two pieces of it once its caller has left.
        """
        return self._add(_Job(work, left))

    def score(
        self, model: LanguageModel[Any], batch: ScoreBatch, left: Event
    ) -> Future[BatchScores]:
        """Score a batch when it has its turn, or with one that has it earlier."""
        return self._add(_ScoreJob(model, batch, left))

    def close(self) -> None:
        """Drop what waits, and wait until what runs has ended or asked whether to go on."""
        self._closed.set()
        with self._lock:
            dropped = list(self._waiting)
            self._waiting.clear()
        for job in dropped:
            job.future.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _add(self, job: _Job) -> Future[Any]:
        with self._lock:
            self._waiting.append(job)
        self._thread.submit(self._run_next)
        return job.future

    def _run_next(self) -> None:
        with self._lock:
            job = self._pop()
            jobs = self._companions(job) if isinstance(job, _ScoreJob) else []
        wanting: list[_Job] = [*jobs] or ([job] if job is not None else [])
        with interruptible(lambda: self._closed.is_set() or all(j.left.is_set() for j in wanting)):
            if jobs:
                _score_together(jobs)
            elif job is not None:
                job.run()

    def _pop(self) -> _Job | None:
        """The first that is still wanted; none is left if earlier ones took it along."""
        while self._waiting:
            job = self._waiting.popleft()
            if job.begin():
                return job
        return None

    def _companions(self, first: _ScoreJob) -> list[_ScoreJob]:
        """A batch that has its turn and those to be scored with it; empty if there are none."""
        jobs, size = [first], first.size
        for job in list(self._waiting) if first.key is not None else []:
            if not isinstance(job, _ScoreJob) or job.key != first.key:
                continue
            size += job.size
            if size > self._max_merged_bytes:
                break
            self._waiting.remove(job)
            if job.begin():
                jobs.append(job)
        return jobs if len(jobs) > 1 else []


def _score_together(jobs: list[_ScoreJob]) -> None:
    try:
        batch = joined([job.batch for job in jobs])
        scores = within_memory(jobs[0].model.score, batch)
        parts = split(scores, [len(job.batch.items) for job in jobs])
    except Exception:  # noqa: BLE001 - whichever it is about is told so when it is scored alone
        for job in jobs:
            job.run()
    else:
        for job, part in zip(jobs, parts, strict=True):
            job.future.set_result(part)
