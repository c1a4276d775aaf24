"""The client for programs that wait for each answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc

from lmscore.client.batching import Window, batches, list_batcher, text_batcher
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
from lmscore.client.stream import ScoreStream
from lmscore.client.trace_context import Metadata, trace_metadata
from lmscore.v1.language_model_service_pb2 import RescoreRequest, RescoreResponse
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub
from lmscore.v1.model_service_pb2_grpc import ModelServiceStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class Client:
    """A connection to a server, made at the first call and shared by threads.

    ``model`` names the model of calls that name none; ``timeout`` is the seconds of calls that
    give none. Without ``tls``, or gRPC's own ``credentials``, the connection is not encrypted.
    ``api_key`` is sent with every call, LMSCORE_API_KEY of the environment if it is not given, and
    ``priority`` says whether calls are "interactive" or "bulk" work. Every method raises a
    subclass of LmscoreError when there is no answer, and TypeError for arguments of a wrong kind;
    calls that find the server UNAVAILABLE, or too busy and saying for how long, are tried again
    within their timeout.
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
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(address, options)
        )
        self._language_model = LanguageModelServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and every call on it."""
        self._closed = True
        self._channel.close()

    def score(
        self,
        texts: Sequence[str],
        *,
        timeout: float | None = None,
        **settings: Unpack[ScoreSettings],
    ) -> Answer[TextScore]:
        """Log-likelihood and perplexity of up to a few thousand texts, in one request."""
        request = scoring.score_request(texts, self.model, settings)
        return scoring.scores(self._call(self._language_model.Score, request, timeout))

    def score_tokens(
        self,
        token_sequences: Sequence[Sequence[int]],
        *,
        timeout: float | None = None,
        **settings: Unpack[ScoreSettings],
    ) -> Answer[TextScore]:
        """The same for token ids of the model's vocabulary, without `<s>`."""
        request = scoring.token_score_request(token_sequences, self.model, settings)
        return scoring.scores(self._call(self._language_model.Score, request, timeout))

    def score_stream(
        self,
        texts: Iterable[str],
        *,
        batch_texts: int = 256,
        max_in_flight: int = 8,
        timeout: float | None = None,
        **settings: Unpack[ScoreSettings],
    ) -> Iterator[Answer[TextScore]]:
        """Score any number of texts: one answer for each batch of them, in order.

        Texts are read from the caller's thread, at most ``max_in_flight`` batches ahead of the
        answers given. ``timeout`` bounds the wait for each answer, not the whole stream.
        """
        self._check_open()
        window = Window[Answer[TextScore]](max_in_flight)
        open_call = partial(self._language_model.ScoreStream, metadata=self._call_metadata())
        stream = ScoreStream(open_call, self._seconds(timeout), self._retries, self.address)
        try:
            for batch in batches(texts, text_batcher(batch_texts)):
                request = scoring.score_request(batch, self.model, settings)
                stream.send(scoring.stream_request(window.open(), request))
                while window.full:
                    yield from window.arrive(*stream.answer())
            stream.end()
            while not window.empty:
                yield from window.arrive(*stream.answer())
            stream.finish()
        finally:
            stream.close()

    def rescore(
        self,
        lists: Sequence[NBestList],
        weights: Sequence[RescoreWeights] = (RescoreWeights(),),
        *,
        timeout: float | None = None,
        **choice: Unpack[ModelChoice],
    ) -> Answer[RescoredList]:
        """Rank n-best lists under each weight setting, in one request and one model pass."""
        request = rescoring.rescore_request(lists, weights, self.model, choice)
        return rescoring.rescored(self._call(self._language_model.Rescore, request, timeout))

    def rescore_stream(
        self,
        lists: Iterable[NBestList],
        weights: Sequence[RescoreWeights] = (RescoreWeights(),),
        *,
        batch_hypotheses: int = 2000,
        max_in_flight: int = 4,
        timeout: float | None = None,
        **choice: Unpack[ModelChoice],
    ) -> Iterator[Answer[RescoredList]]:
        """Rank any number of lists: one answer for each batch of them, in order.

        At most ``max_in_flight`` requests are unanswered; ``timeout`` bounds each of them. A list
        that is too large for a request of its own has an error in its place, in an answer of
        model version 0. Requests that find the server too busy are made again, one at a time.
        """
        calls: deque[tuple[int, RescoreRequest, grpc.Future[RescoreResponse]]] = deque()

        def next_answer() -> Answer[RescoredList]:
            count, request, call = calls.popleft()
            attempts = self._retries.of_stream(self._seconds(timeout))
            try:
                try:
                    response = call.result()
                except grpc.RpcError as error:
                    self._wait(attempts, error)
                    response = self._attempt(self._language_model.Rescore, request, attempts)
            except LmscoreError as failure:
                if count == 1 and rescoring.lists_at_fault(failure):
                    return rescoring.unanswered(failure, self.model, choice)
                raise
            return rescoring.rescored(response)

        try:
            for batch in batches(lists, list_batcher(batch_hypotheses)):
                request = rescoring.rescore_request(batch, weights, self.model, choice)
                self._check_open()
                call = self._language_model.Rescore.future(
                    request, self._seconds(timeout), metadata=self._call_metadata()
                )
                calls.append((len(batch), request, call))
                if len(calls) >= max_in_flight:
                    yield next_answer()
            while calls:
                yield next_answer()
        finally:
            while calls:
                calls.pop()[-1].cancel()

    def detect_errors(
        self,
        texts: Sequence[str],
        *,
        timeout: float | None = None,
        **settings: Unpack[DetectSettings],
    ) -> Answer[CheckedText]:
        """Words that do not fit into their texts, and what would fit better."""
        request = detection.detect_request(texts, self.model, settings)
        answer = self._call(self._language_model.DetectErrors, request, timeout)
        return detection.checked(answer)

    def predict(
        self,
        prompts: Sequence[str],
        *,
        timeout: float | None = None,
        **settings: Unpack[PredictSettings],
    ) -> Answer[Prediction]:
        """The likeliest next tokens after each prompt; "" is the start of a text."""
        request = predicting.predict_request(prompts, self.model, settings)
        return predicting.predictions(self._call(self._language_model.Predict, request, timeout))

    def generate(
        self, prompt: str, *, timeout: float | None = None, **settings: Unpack[GenerateSettings]
    ) -> Generator[GenerationEvent]:
        """Continue a prompt: a GenerationStarted, then tokens and ends of texts as they come.

        ``timeout`` bounds the whole generation. Closing the generator cancels the call; leaving
        a loop over it does so in CPython, ``contextlib.closing`` everywhere.
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
                for response in call:
                    yield from map(unfinished.see, generation.events(response))
                break
            except grpc.RpcError as error:
                if unfinished.started:  # what was written must not be written again
                    raise error_from_rpc(error, self.address) from error
                self._wait(attempts, error)
            finally:
                call.cancel()
        attempts.answered()
        unfinished.refuse()

    def generate_texts(
        self, prompt: str, *, timeout: float | None = None, **settings: Unpack[GenerateSettings]
    ) -> Answer[GeneratedText]:
        """The same for callers that wait for whole texts."""
        with closing(self.generate(prompt, timeout=timeout, **settings)) as events:
            return whole_texts(events)

    def tokenize(
        self, texts: Sequence[str], *, timeout: float | None = None, **choice: Unpack[ModelChoice]
    ) -> Answer[tuple[Token, ...]]:
        """The tokens that a model sees in texts, without `<s>` and `</s>`."""
        request = predicting.tokenize_request(texts, self.model, choice)
        return predicting.tokenized(self._call(self._language_model.Tokenize, request, timeout))

    def list_models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """Every model of the server, by name and version."""
        request = model_service.list_models_request()
        return model_service.models(self._call(self._models.ListModels, request, timeout))

    def get_model(
        self, *, timeout: float | None = None, **choice: Unpack[ModelChoice]
    ) -> ModelInfo:
        """One model's description."""
        request = model_service.get_model_request(self.model, choice)
        return model_service.model_info(self._call(self._models.GetModel, request, timeout).model)

    def wait_until_ready(self, model: str = "", *, timeout: float = 60.0) -> None:
        """Return when a model answers: the one named, else the client's, else every one there is.

        Raises DeadlineExceededError, which says what was still missing.
        """
        end = time.monotonic() + timeout
        missing = ""
        request = model_service.list_models_request()
        while (left := end - time.monotonic()) > 0:
            try:
                response = self._call(self._models.ListModels, request, left, wait_for_ready=True)
            except UnavailableError as error:
                missing = str(error)
            except DeadlineExceededError as error:
                missing = missing or str(error)  # what was missing before tells more
            else:
                missing = awaited(model_service.models(response), model or self.model)
                if not missing:
                    return
            time.sleep(POLL_SECONDS)
        raise not_ready(self.address, timeout, missing or "no connection")

    def _call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None,
        *,
        wait_for_ready: bool = False,
    ) -> Response:
        attempts = self._retries.of_call(self._seconds(timeout))
        return self._attempt(method, request, attempts, wait_for_ready=wait_for_ready)

    def _attempt(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        attempts: Attempts,
        *,
        wait_for_ready: bool = False,
    ) -> Response:
        """Make a call until there is an answer, or nothing more to be hoped for."""
        while True:
            self._check_open()
            try:
                answer = method(
                    request,
                    timeout=attempts.seconds_left,
                    metadata=self._call_metadata(),
                    wait_for_ready=wait_for_ready,
                )
            except grpc.RpcError as error:
                self._wait(attempts, error)
            else:
                attempts.answered()
                return answer

    def _wait(self, attempts: Attempts, error: grpc.RpcError) -> None:
        """Wait until a call may be made again; raises what it ended with if it is not to be."""
        failure = error_from_rpc(error, self.address)
        pause = attempts.pause_after(failure)
        if pause is None:
            raise failure from error
        time.sleep(pause)

    def _call_metadata(self) -> Metadata:
        """What goes with a call: key, priority, and the span that it is part of."""
        return (*self._metadata, *trace_metadata())

    def _check_open(self) -> None:
        if self._closed:
            raise client_closed()

    def _seconds(self, timeout: float | None) -> float:
        return min(self.timeout if timeout is None else timeout, LONGEST_SECONDS)
