"""The asyncio counterpart of ScoreStream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeAlias

import grpc

from lmscore.client.convert import scoring
from lmscore.client.errors import OverloadedError, ServerError
from lmscore.client.results import Answer, TextScore
from lmscore.client.retrying import SHORTEST_SPREAD_SECONDS, Attempts, Retries
from lmscore.client.status import answer_overdue, stream_ended_early
from lmscore.client.stream import DEFAULT_PAUSE_SECONDS
from lmscore.v1.language_model_service_pb2 import ScoreStreamRequest, ScoreStreamResponse

Open: TypeAlias = Callable[
    [AsyncIterator[ScoreStreamRequest]],
    "grpc.aio.StreamStreamCall[Any, ScoreStreamResponse]",
]
_SENDING_FAILED = "Internal error from Core"  # gRPC's words
_LONGEST_SILENCE_SECONDS = 0.5

Errors: TypeAlias = Callable[[], AbstractContextManager[None]]


class AsyncScoreStream:
    """ScoreStream for tasks; ``errors`` raises what gRPC's exceptions mean."""

    def __init__(self, open_call: Open, seconds: float, retries: Retries, errors: Errors) -> None:
        self._open_call = open_call
        self._seconds = seconds  # for each answer
        self._retries = retries
        self._errors = errors
        self._unanswered: dict[int, ScoreStreamRequest] = {}
        self._ended = False
        self._careful = False  # to send one request and wait for what becomes of it
        self._open()

    def send(self, request: ScoreStreamRequest) -> None:
        """Send a request, without waiting."""
        self._unanswered[request.request_id] = request
        self._requests.put_nowait(request)

    def end(self) -> None:
        """Say that no further requests come."""
        self._ended = True
        self._requests.put_nowait(None)

    async def answer(self) -> tuple[int, Answer[TextScore]]:
        """The next answer, with its request's id. Raises LmscoreError."""
        attempts = self._retries.of_stream(self._seconds)
        while True:
            try:
                response = await self._read()
            except OverloadedError as error:
                await self._wait(attempts, error, None)
                self._reopen()
                continue
            except ServerError as error:
                # A call that the server ends while a request is being sent ends for gRPC with
                # this failure, and without the server's reason, which the next call may tell.
                if str(error) != _SENDING_FAILED or not attempts.seconds_left:
                    raise
                await asyncio.sleep(SHORTEST_SPREAD_SECONDS)
                self._reopen()
                continue
            if not isinstance(response, ScoreStreamResponse):  # gRPC's EOF
                raise stream_ended_early()
            try:
                answered = scoring.stream_answer(response)
            except OverloadedError as error:
                await self._wait(attempts, error, DEFAULT_PAUSE_SECONDS)
                self._send_again(response.request_id)
                continue
            self._unanswered.pop(response.request_id, None)
            return answered

    async def finish(self) -> None:
        """Read to the end, or the server would see a cancelled call."""
        await self._read()

    def close(self) -> None:
        """End the call, wherever it is."""
        self._call.cancel()

    def _open(self) -> None:
        # A queue, and not call.write: the server may stop reading until we have read from it.
        self._requests = asyncio.Queue[ScoreStreamRequest | None]()  # None ends the stream
        for request in self._unanswered.values():
            self._requests.put_nowait(request)
        if self._ended:
            self._requests.put_nowait(None)
        self._heard = asyncio.Event()
        waited_for = self._heard if self._careful else None
        self._call = self._open_call(_one_by_one(self._requests, waited_for))
        self._call.add_done_callback(lambda _: self._heard.set())

    def _reopen(self) -> None:
        self.close()
        self._careful = True
        self._open()

    def _send_again(self, request_id: int) -> None:
        if self._ended:
            self._reopen()
        elif request_id in self._unanswered:
            self._requests.put_nowait(self._unanswered[request_id])

    async def _wait(
        self, attempts: Attempts, error: OverloadedError, default: float | None
    ) -> None:
        pause = attempts.pause_after(error, default)
        if pause is None:
            raise error
        await asyncio.sleep(pause)

    async def _read(self) -> object:
        """The next answer; gRPC's EOF at the end."""
        try:
            with self._errors():
                async with asyncio.timeout(self._seconds):
                    response: object = await self._call.read()
        except TimeoutError as error:
            raise answer_overdue(self._seconds) from error
        self._heard.set()
        return response


async def _one_by_one(
    queue: asyncio.Queue[ScoreStreamRequest | None], heard: asyncio.Event | None
) -> AsyncIterator[ScoreStreamRequest]:
    """The requests; after the first one perhaps only when something was heard of it."""
    while (request := await queue.get()) is not None:
        yield request
        if heard is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), _LONGEST_SILENCE_SECONDS)
            heard = None
