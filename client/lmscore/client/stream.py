"""A ScoreStream that goes on after the server had no room for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Protocol, TypeAlias

import grpc

from lmscore.client.convert import scoring
from lmscore.client.errors import OverloadedError
from lmscore.client.results import Answer, TextScore
from lmscore.client.retrying import Attempts, Retries
from lmscore.client.status import answer_overdue, error_from_rpc, stream_ended_early
from lmscore.client.watchdog import Watchdog
from lmscore.v1.language_model_service_pb2 import ScoreStreamRequest, ScoreStreamResponse


class Call(Protocol):
    """What gRPC gives for a stream."""

    def cancel(self) -> bool:
        """End it."""

    def __next__(self) -> ScoreStreamResponse: ...
    def __iter__(self) -> Iterator[ScoreStreamResponse]: ...


Open: TypeAlias = Callable[[Iterator[ScoreStreamRequest]], Call]

DEFAULT_PAUSE_SECONDS = 1.0
"""How long to wait for room where an answer in a stream, which has no place for it, says so."""


class ScoreStream:
    """Requests and their answers. What is unanswered is sent again if the call has to be, too."""

    def __init__(self, open_call: Open, seconds: float, retries: Retries, address: str) -> None:
        self._open_call = open_call
        self._seconds = seconds  # for each answer
        self._retries = retries
        self._address = address
        self._unanswered: dict[int, ScoreStreamRequest] = {}
        self._ended = False
        self._open()

    def send(self, request: ScoreStreamRequest) -> None:
        """Send a request, without waiting."""
        self._unanswered[request.request_id] = request
        self._requests.put(request)

    def end(self) -> None:
        """Say that no further requests come."""
        self._ended = True
        self._requests.put(None)

    def answer(self) -> tuple[int, Answer[TextScore]]:
        """The next answer, with its request's id. Raises LmscoreError."""
        attempts = self._retries.of_stream(self._seconds)
        while True:
            try:
                response = self._read()
            except OverloadedError as error:
                self._wait(attempts, error, None)
                self._reopen()
                continue
            if response is None:
                raise stream_ended_early()
            try:
                answered = scoring.stream_answer(response)
            except OverloadedError as error:
                self._wait(attempts, error, DEFAULT_PAUSE_SECONDS)
                self._send_again(response.request_id)
                continue
            self._unanswered.pop(response.request_id, None)
            return answered

    def finish(self) -> None:
        """Read to the end, or the server would see a cancelled call."""
        self._read()

    def close(self) -> None:
        """End the call, wherever it is."""
        self._watchdog.__exit__(None, None, None)
        self._call.cancel()  # before the end of the requests, which would look like a good end
        self._requests.put(None)  # or gRPC's thread would wait for it for ever

    def _open(self) -> None:
        self._requests = SimpleQueue[ScoreStreamRequest | None]()  # None ends the stream
        for request in self._unanswered.values():
            self._requests.put(request)
        if self._ended:
            self._requests.put(None)
        self._call = self._open_call(iter(self._requests.get, None))
        self._watchdog = Watchdog(self._call, self._seconds)
        self._watchdog.__enter__()

    def _reopen(self) -> None:
        self.close()
        self._open()

    def _send_again(self, request_id: int) -> None:
        if self._ended:
            self._reopen()
        elif request_id in self._unanswered:
            self._requests.put(self._unanswered[request_id])

    def _wait(self, attempts: Attempts, error: OverloadedError, default: float | None) -> None:
        pause = attempts.pause_after(error, default)
        if pause is None:
            raise error
        time.sleep(pause)

    def _read(self) -> ScoreStreamResponse | None:
        try:
            with self._watchdog.waiting():
                return next(self._call, None)
        except grpc.RpcError as error:
            if self._watchdog.expired:
                raise answer_overdue(self._seconds) from error
            raise error_from_rpc(error, self._address) from error
