"""The RPCs: each checks the request, has the model work, and converts the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias, TypeVar

import grpc

from lmscore.models.decoding.text_batch import Token
from lmscore.models.language_model import BatchScores, LanguageModel, ScoreBatch
from lmscore.server.call import current_call
from lmscore.server.convert import (
    detect,
    generate,
    predict,
    rescore,
    score,
    score_reply,
    tokenize,
)
from lmscore.server.convert.generate import GenerationLimits
from lmscore.server.convert.items import Limits, selector
from lmscore.server.convert.models import model_message
from lmscore.server.convert.score_request import ScoreRequest, StreamRequest
from lmscore.server.errors import AdminOnlyError, OverloadedError, ServiceError
from lmscore.server.generation.generator import Generator
from lmscore.server.generation.token_times import TokenTimes
from lmscore.server.observer import Observer
from lmscore.server.repository import Entry, ModelRepository, ServedModel
from lmscore.server.rollout.admin import Administration
from lmscore.server.scheduling.scheduler import Scheduler
from lmscore.server.security.quota import charge, quota_turn
from lmscore.server.stream_window import StreamWindow
from lmscore.server.writing import StreamWriter, write_whole
from lmscore.v1 import common_pb2, model_service_pb2, model_service_pb2_grpc
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1 import language_model_service_pb2_grpc as wire_grpc

Work = TypeVar("Work")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class LanguageModelService(wire_grpc.LanguageModelServiceServicer):
    """All RPCs that put probabilities on text, over the models of a repository."""

    def __init__(
        self,
        repository: ModelRepository,
        scheduler: Scheduler,
        generator: Generator,
        limits: Limits,
        generation_limits: GenerationLimits,
        stream_window: Callable[[], StreamWindow],
        observer: Observer,
    ) -> None:
        self._repository = repository
        self._scheduler = scheduler
        self._generator = generator
        self._limits = limits
        self._generation_limits = generation_limits
        self._stream_window = stream_window
        self._observer = observer

    async def Score(  # type: ignore[override]  # the stub knows only messages
        self, request: ScoreRequest, context: Context
    ) -> bytes:
        """Score a batch."""
        return await self._score(request)

    async def ScoreStream(  # type: ignore[override]  # the stub knows only generators
        self, requests: AsyncIterator[StreamRequest], context: Context
    ) -> None:
        """Answer every request of the stream as soon as its scores are there.

        A request is read only while there is a place for it, and its place is free again when its
        answer has been written: a slow reader bounds its own memory through flow control.
        """
        window, writer = self._stream_window(), StreamWriter(context)

        async def answer(request: StreamRequest) -> None:
            size = request.score.size
            writer.put(await self._stream_answer(request), lambda: window.leave(size))

        async with asyncio.TaskGroup() as writing:
            writing.create_task(writer.run())
            async with asyncio.TaskGroup() as answers:
                async for request in requests:
                    await window.enter(request.score.size)
                    if self._is_quick(request.score):
                        # Scored here and now; the next is read while the answer is written.
                        await answer(request)
                    else:
                        answers.create_task(answer(request))
            writer.close()

    async def Rescore(self, request: wire.RescoreRequest, context: Context) -> wire.RescoreResponse:
        """Score all hypotheses and rank every list."""
        served = self._find(request.model)
        # A request may have millions of numbers: nothing is done to them on the event loop.
        work = await self._scheduler.run(rescore.rescore_work, request, self._limits)
        scores = await self._scores(served, [part.batch for part in work.parts])
        return await self._scheduler.run(rescore.rescore_response, served, request, work, scores)

    async def DetectErrors(
        self, request: wire.DetectErrorsRequest, context: Context
    ) -> wire.DetectErrorsResponse:
        """Find words that do not fit, and what would fit better."""
        served = self._find(request.model)
        work = await self._scheduler.run(detect.detect_work, request, self._limits, served)
        checked = await self._scheduler.check(served.model, work.batch, work.settings)
        _took(int(checked.token_counts.sum()))
        return await self._scheduler.run(
            detect.detect_response, served, work, checked, self._limits
        )

    async def Predict(self, request: wire.PredictRequest, context: Context) -> wire.PredictResponse:
        """Tell what may follow each prompt."""
        served = self._find(request.model)
        work = predict.predict_work(request, self._limits, served.model.vocabulary)
        distributions = await self._scheduler.predict(
            served.model, work.prompts, work.top_k, bos=work.bos
        )
        charge(len(work.prompts))  # each had one token worked out
        return predict.predict_response(served, work, distributions)

    async def Generate(  # type: ignore[override]  # the stub knows only generators
        self, request: wire.GenerateRequest, context: Context
    ) -> None:
        """Continue a prompt; what comes while a message is being written goes into the next."""
        served = self._find(request.model)
        model = served.model
        work = generate.generate_work(
            request, self._limits, self._generation_limits, model.vocabulary
        )
        async with self._generator.generation(
            model, work.prompt, work.settings, seed=work.seed, bos=work.bos
        ) as generation:
            counts = generation.counts
            charge(counts.tokens)
            current_call().oov += counts.oov
            started: wire.GenerationStarted | None = generate.started(
                served, work.seed, counts.tokens, counts.oov
            )
            with TokenTimes(self._observer, current_call(), work.settings) as times:
                async for events in generation.events(work.message_tokens):
                    charge(sum(isinstance(event, Token) for event in events))
                    times.see(events)
                    response = generate.generate_response(events, model.vocabulary)
                    if started is not None:
                        response.started.CopyFrom(started)
                        started = None
                    await write_whole(context, response)

    async def Tokenize(
        self,
        request: wire.TokenizeRequest,
        context: Context,
    ) -> wire.TokenizeResponse:
        """Split texts."""
        served = self._find(request.model)
        texts, strings, errors = await self._prepared(
            served.model, tokenize.tokenize_work, request, self._limits, served.model
        )
        tokenized = await self._scheduler.tokenize(served.model, texts)
        charge(len(tokenized.token_ids))
        return await self._scheduler.run(
            tokenize.tokenize_response, served, strings, tokenized, errors
        )

    async def _score(self, request: ScoreRequest) -> bytes:
        served = self._find(request.rest.model)
        work = await self._prepared(
            served.model, score.score_work, request, self._limits, served.model
        )
        scores = await self._scored(served, work.batch)
        details = None
        if work.alternatives is not None and scores.tokens is not None:
            details = await self._scheduler.details(
                served.model, work.batch, scores.tokens, work.alternatives
            )
        if scores.tokens is None:
            return score_reply.score_reply(served, work, scores, None)
        return await self._scheduler.run(score_reply.score_reply, served, work, scores, details)

    async def _scores(self, served: ServedModel, batches: list[ScoreBatch]) -> list[BatchScores]:
        if not served.model.exclusive:
            return [await self._scored(served, batch) for batch in batches]
        # Batches that wait together are scored together.
        return await asyncio.gather(*(self._scored(served, batch) for batch in batches))

    async def _scored(self, served: ServedModel, batch: ScoreBatch) -> BatchScores:
        scores = await self._scheduler.score(served.model, batch)
        _took(int(scores.token_counts.sum()))
        current_call().oov += int(scores.oov_counts.sum())
        self._observer.scored(served.name, scores)
        return scores

    def _find(self, chosen: common_pb2.ModelSelector) -> ServedModel:
        served = self._repository.find(*selector(chosen))
        call = current_call()
        call.model, call.version = served.name, served.version
        return served

    async def _prepared(
        self, model: LanguageModel[Any], work: Callable[..., Work], *args: object
    ) -> Work:
        """What is to be done for a request; counting a network's tokens can mean to split texts."""
        return await self._scheduler.run(work, *args) if model.exclusive else work(*args)

    def _is_quick(self, request: ScoreRequest) -> bool:
        try:
            served = self._repository.find(*selector(request.rest.model))
        except ServiceError:
            return True
        return request.size <= served.model.quick_bytes

    async def _stream_answer(self, request: StreamRequest) -> bytes:
        await quota_turn()
        while True:
            try:
                answer = await self._score(request.score)
            except OverloadedError as error:  # a stream can wait: what it sends is bounded
                await asyncio.sleep(error.retry_after_seconds)
            except ServiceError as error:
                return score_reply.stream_failure(request.request_id, error)
            else:
                return score_reply.stream_reply(request.request_id, answer)


def _took(tokens: int) -> None:
    """Count tokens for the call at hand, in its log line and against its quota."""
    charge(tokens)
    current_call().tokens += tokens


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Describes models to everybody; changes them only where it is given an administration."""

    def __init__(
        self, repository: ModelRepository, administration: Administration | None = None
    ) -> None:
        self._repository = repository
        self._administration = administration

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: Context
    ) -> model_service_pb2.ListModelsResponse:
        """All models, ordered by name and version."""
        return model_service_pb2.ListModelsResponse(
            models=map(self._message, self._repository.all())
        )

    async def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: Context
    ) -> model_service_pb2.GetModelResponse:
        """One model."""
        entry = self._repository.describe(*selector(request.model))
        return model_service_pb2.GetModelResponse(model=self._message(entry))

    async def LoadModel(
        self, request: model_service_pb2.LoadModelRequest, context: Context
    ) -> model_service_pb2.LoadModelResponse:
        """Load a version, and wait until it answers."""
        loaded = await self._admin("LoadModel").load(request.name, request.version)
        return model_service_pb2.LoadModelResponse(model=self._message(loaded))

    async def UnloadModel(
        self, request: model_service_pb2.UnloadModelRequest, context: Context
    ) -> model_service_pb2.UnloadModelResponse:
        """Take a version out of service."""
        administration = self._admin("UnloadModel")
        unloaded = await administration.unload(request.name, request.version, force=request.force)
        return model_service_pb2.UnloadModelResponse(model=self._message(unloaded))

    async def SetLabel(
        self, request: model_service_pb2.SetLabelRequest, context: Context
    ) -> model_service_pb2.SetLabelResponse:
        """Let a label name a version, or nothing."""
        administration = self._admin("SetLabel")
        version = request.version if request.HasField("version") else None
        labelled = await administration.set_label(request.name, request.label, version)
        return model_service_pb2.SetLabelResponse(
            model=self._message(labelled) if labelled is not None else None
        )

    def _admin(self, method: str) -> Administration:
        if self._administration is None:
            raise AdminOnlyError(method)
        return self._administration

    def _message(self, entry: Entry) -> model_service_pb2.Model:
        return model_message(entry, self._repository)
