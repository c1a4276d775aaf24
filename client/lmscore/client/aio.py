"""The client for programs that run on asyncio."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from lmscore.client.aio_stream import AsyncScoreStream
from lmscore.client.batching import Window, async_batches, list_batcher, text_batcher
from lmscore.client.channel import LONGEST_SECONDS, ChannelSettings, checked_address
from lmscore.client.convert import (
    detection,
    generation,
    model_service,
    predicting,
    rescoring,
    scoring,
)
from lmscore.client.credentials import (
    Priority,
    TlsSettings,
    call_metadata,
    credentials_and_options,
)
from lmscore.client.detection import CheckedText, DetectSettings
from lmscore.client.errors import DeadlineExceededError, LmscoreError, UnavailableError
from lmscore.client.generation import GeneratedText, GenerationEvent, Unfinished, whole_texts
from lmscore.client.readiness import POLL_SECONDS, awaited, not_ready
from lmscore.client.requests import (
    GenerateSettings,
    ModelChoice,
    NBestList,
    PredictSettings,
    RescoreWeights,
    ScoreSettings,
)
from lmscore.client.results import Answer, ModelInfo, Prediction, RescoredList, TextScore, Token
from lmscore.client.retrying import Attempts, Retries
from lmscore.client.status import client_closed, error_from_rpc
from lmscore.client.trace_context import Metadata, trace_metadata
from lmscore.v1.language_model_service_pb2 import RescoreRequest, RescoreResponse
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub
from lmscore.v1.model_service_pb2_grpc import ModelServiceStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class AsyncClient:
    """Client's counterpart for asyncio; to be made inside a running event loop.

    The arguments, the answers and the errors are those of Client. Cancelling a task cancels its
    call on the server.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        model: str = "",
        timeout: float = 30.0,
        credentials: grpc.ChannelCredentials | None = None,
        tls: TlsSettings | None = None,
        api_key: str | None = None,
        priority: Priority | None = None,
        channel: ChannelSettings = ChannelSettings(),  # noqa: B008 (frozen)
    ) -> None:
        self.address = checked_address(address)
        self.model = model
        self.timeout = timeout
        self._closed = False
        credentials, tls_options = credentials_and_options(credentials, tls)
        options = [*channel.options(address), *tls_options]
        encrypted = credentials is not None
        self._metadata = call_metadata(address, api_key, priority, encrypted=encrypted)
        self._retries = Retries(channel.max_attempts)
        self._channel = (
            grpc.aio.secure_channel(address, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(address, options)
        )
        self._language_model = LanguageModelServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection and every call on it."""
        self._closed = True
        await self._channel.close()

    async def score(
        self,
        texts: Sequence[str],
        *,
        timeout: float | None = None,
        **settings: Unpack[ScoreSettings],
    ) -> Answer[TextScore]:
        """Log-likelihood and perplexity of up to a few thousand texts, in one request."""
        request = scoring.score_request(texts, self.model, settings)
        return scoring.scores(await self._call(self._language_model.Score, request, timeout))

    async def score_tokens(
        self,
        token_sequences: Sequence[Sequence[int]],
        *,
        timeout: float | None = None,
        **settings: Unpack[ScoreSettings],
    ) -> Answer[TextScore]:
        """The same for token ids of the model's vocabulary, without `<s>`."""
        request = scoring.token_score_request(token_sequences, self.model, settings)
        return scoring.scores(await self._call(self._language_model.Score, request, timeout))

    async def score_stream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        batch_texts: int = 256,
        max_in_flight: int = 8,
        timeout: float | None = None,
        **settings: Unpack[ScoreSettings],
    ) -> AsyncIterator[Answer[TextScore]]:
        """Score any number of texts: one answer for each batch of them, in order.

        Texts are read at most ``max_in_flight`` batches ahead of the answers given. ``timeout``
        bounds the wait for each answer, not the whole stream.
        """
        self._check_open()
        window = Window[Answer[TextScore]](max_in_flight)
        open_call = partial(self._language_model.ScoreStream, metadata=self._call_metadata())
        stream = AsyncScoreStream(open_call, self._seconds(timeout), self._retries, self._errors)
        try:
            async for batch in async_batches(texts, text_batcher(batch_texts)):
                request = scoring.score_request(batch, self.model, settings)
                stream.send(scoring.stream_request(window.open(), request))
                while window.full:
                    for answer in window.arrive(*await stream.answer()):
                        yield answer
            stream.end()
            while not window.empty:
                for answer in window.arrive(*await stream.answer()):
                    yield answer
            await stream.finish()
        finally:
            stream.close()

    async def rescore(
        self,
        lists: Sequence[NBestList],
        weights: Sequence[RescoreWeights] = (RescoreWeights(),),
        *,
        timeout: float | None = None,
        **choice: Unpack[ModelChoice],
    ) -> Answer[RescoredList]:
        """Rank n-best lists under each weight setting, in one request and one model pass."""
        request = rescoring.rescore_request(lists, weights, self.model, choice)
        return rescoring.rescored(await self._call(self._language_model.Rescore, request, timeout))

    async def rescore_stream(
        self,
        lists: Iterable[NBestList] | AsyncIterable[NBestList],
        weights: Sequence[RescoreWeights] = (RescoreWeights(),),
        *,
        batch_hypotheses: int = 2000,
        max_in_flight: int = 4,
        timeout: float | None = None,
        **choice: Unpack[ModelChoice],
    ) -> AsyncIterator[Answer[RescoredList]]:
        """Rank any number of lists: one answer for each batch of them, in order.

        At most ``max_in_flight`` requests are unanswered; ``timeout`` bounds each of them. A list
        that is too large for a request of its own has an error in its place, in an answer of
        model version 0. Requests that find the server too busy are made again, one at a time.
        """
        calls: deque[tuple[int, RescoreRequest, grpc.aio.UnaryUnaryCall[Any, RescoreResponse]]] = (
            deque()
        )

        async def next_answer() -> Answer[RescoredList]:
            count, request, call = calls.popleft()
            attempts = self._retries.of_stream(self._seconds(timeout))
            try:
                try:
                    with self._errors():
                        return rescoring.rescored(await call)
                except LmscoreError as failure:
                    await _wait(attempts, failure)
                    answer = await self._attempt(self._language_model.Rescore, request, attempts)
                    return rescoring.rescored(answer)
            except LmscoreError as failure:
                if count == 1 and rescoring.lists_at_fault(failure):
                    return rescoring.unanswered(failure, self.model, choice)
                raise

        try:
            async for batch in async_batches(lists, list_batcher(batch_hypotheses)):
                request = rescoring.rescore_request(batch, weights, self.model, choice)
                self._check_open()
                call = self._language_model.Rescore(
                    request, timeout=self._seconds(timeout), metadata=self._call_metadata()
                )
                calls.append((len(batch), request, call))
                if len(calls) >= max_in_flight:
                    yield await next_answer()
            while calls:
                yield await next_answer()
        finally:
            for *_, call in calls:
                call.cancel()

    async def detect_errors(
        self,
        texts: Sequence[str],
        *,
        timeout: float | None = None,
        **settings: Unpack[DetectSettings],
    ) -> Answer[CheckedText]:
        """Words that do not fit into their texts, and what would fit better."""
        request = detection.detect_request(texts, self.model, settings)
        answer = await self._call(self._language_model.DetectErrors, request, timeout)
        return detection.checked(answer)

    async def predict(
        self,
        prompts: Sequence[str],
        *,
        timeout: float | None = None,
        **settings: Unpack[PredictSettings],
    ) -> Answer[Prediction]:
        """The likeliest next tokens after each prompt; "" is the start of a text."""
        request = predicting.predict_request(prompts, self.model, settings)
        return predicting.predictions(
            await self._call(self._language_model.Predict, request, timeout)
        )

    async def generate(
        self, prompt: str, *, timeout: float | None = None, **settings: Unpack[GenerateSettings]
    ) -> AsyncGenerator[GenerationEvent]:
        """Continue a prompt: a GenerationStarted, then tokens and ends of texts as they come.

        ``timeout`` bounds the whole generation. Closing the generator cancels the call, at once
        with ``contextlib.aclosing``.
        """
        request = generation.generate_request(prompt, self.model, settings)
        self._check_open()
        attempts = self._retries.of_call(self._seconds(timeout))
        unfinished = Unfinished()
        while True:
            call = self._language_model.Generate(
                request, timeout=attempts.seconds_left, metadata=self._call_metadata()
            )
            try:
                with self._errors():
                    async for response in call:
                        for event in generation.events(response):
                            yield unfinished.see(event)
                break
            except LmscoreError as failure:
                if unfinished.started:  # what was written must not be written again
                    raise
                await _wait(attempts, failure)
            finally:
                call.cancel()
        attempts.answered()
        unfinished.refuse()

    async def generate_texts(
        self, prompt: str, *, timeout: float | None = None, **settings: Unpack[GenerateSettings]
    ) -> Answer[GeneratedText]:
        """The same for callers that wait for whole texts."""
        async with aclosing(self.generate(prompt, timeout=timeout, **settings)) as events:
            return whole_texts([event async for event in events])

    async def tokenize(
        self, texts: Sequence[str], *, timeout: float | None = None, **choice: Unpack[ModelChoice]
    ) -> Answer[tuple[Token, ...]]:
        """The tokens that a model sees in texts, without `<s>` and `</s>`."""
        request = predicting.tokenize_request(texts, self.model, choice)
        return predicting.tokenized(
            await self._call(self._language_model.Tokenize, request, timeout)
        )

    async def list_models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """Every model of the server, by name and version."""
        request = model_service.list_models_request()
        return model_service.models(await self._call(self._models.ListModels, request, timeout))

    async def get_model(
        self, *, timeout: float | None = None, **choice: Unpack[ModelChoice]
    ) -> ModelInfo:
        """One model's description."""
        request = model_service.get_model_request(self.model, choice)
        return model_service.model_info(
            (await self._call(self._models.GetModel, request, timeout)).model
        )

    async def wait_until_ready(self, model: str = "", *, timeout: float = 60.0) -> None:
        """Return when a model answers: the one named, else the client's, else every one there is.

        Raises DeadlineExceededError, which says what was still missing.
        """
        end = time.monotonic() + timeout
        missing = ""
        request = model_service.list_models_request()
        while (left := end - time.monotonic()) > 0:
            try:
                response = await self._call(
                    self._models.ListModels, request, left, wait_for_ready=True
                )
            except UnavailableError as error:
                missing = str(error)
            except DeadlineExceededError as error:
                missing = missing or str(error)  # what was missing before tells more
            else:
                missing = awaited(model_service.models(response), model or self.model)
                if not missing:
                    return
            await asyncio.sleep(POLL_SECONDS)
        raise not_ready(self.address, timeout, missing or "no connection")

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None,
        *,
        wait_for_ready: bool = False,
    ) -> Response:
        attempts = self._retries.of_call(self._seconds(timeout))
        return await self._attempt(method, request, attempts, wait_for_ready=wait_for_ready)

    async def _attempt(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        attempts: Attempts,
        *,
        wait_for_ready: bool = False,
    ) -> Response:
        """Make a call until there is an answer, or nothing more to be hoped for."""
        while True:
            self._check_open()
            try:
                with self._errors():
                    answer = await method(
                        request,
                        timeout=attempts.seconds_left,
                        metadata=self._call_metadata(),
                        wait_for_ready=wait_for_ready,
                    )
            except LmscoreError as failure:
                await _wait(attempts, failure)
            else:
                attempts.answered()
                return answer

    def _call_metadata(self) -> Metadata:
        """What goes with a call: key, priority, and the span that it is part of."""
        return (*self._metadata, *trace_metadata())

    def _check_open(self) -> None:
        if self._closed:
            raise client_closed()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise what gRPC's exceptions mean.

        For a call that close() has ended, gRPC raises what asyncio keeps for cancelled tasks.
        """
        try:
            yield
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.address) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                self._check_open()
            raise

    def _seconds(self, timeout: float | None) -> float:
        return min(self.timeout if timeout is None else timeout, LONGEST_SECONDS)


async def _wait(attempts: Attempts, failure: LmscoreError) -> None:
    """Wait until a call may be made again; raises what it ended with if it is not to be."""
    pause = attempts.pause_after(failure)
    if pause is None:
        raise failure
    await asyncio.sleep(pause)
