"""What is not scoring: models, tokens, reflection, bugs, overload."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from lmscore.models.language_model import BatchScores, ScoreBatch
from lmscore.models.loading import load_model
from lmscore.models.ngram.model import NgramModel
from lmscore.server.repository import FailedModel, UnloadedModel
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1 import model_service_pb2
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.harness import Connection, failure_of, running, settings_for
from tests.server.test_generation import until

TINY = ModelSelector(name="tiny")


def serve_instead(connection: Connection, model: Any) -> None:
    served = connection.server.repository.find("tiny", None)
    connection.server.repository.add(replace(served, model=model))


async def test_models_are_described(connection: Connection) -> None:
    listed = await connection.models.ListModels(model_service_pb2.ListModelsRequest())
    got = await connection.models.GetModel(model_service_pb2.GetModelRequest(model=TINY))

    [model] = listed.models
    assert model == got.model
    assert model.kind == model_service_pb2.MODEL_KIND_NGRAM
    assert model.state == model_service_pb2.MODEL_STATE_READY
    assert model.vocabulary_size == 5
    assert model.ngram.order == 2
    assert list(model.ngram.counts) == [5, 3]
    assert model.scoring_contract.has_unknown
    assert model.memory_bytes > 0


async def test_a_loading_model_is_listed_as_such(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa), load=False) as connection:
        listed = await connection.models.ListModels(model_service_pb2.ListModelsRequest())

    [model] = listed.models
    assert model.state == model_service_pb2.MODEL_STATE_LOADING
    assert model.identity.name == "tiny"


async def test_versions_that_do_not_answer_say_why(connection: Connection) -> None:
    repository = connection.server.repository
    served = repository.find("tiny", None)
    given_up = replace(served, version=2, problem="its file is gone")
    repository.add(given_up)
    repository.put(FailedModel("tiny", 3, "no end of it"))
    repository.put(UnloadedModel("tiny", 4))
    repository.retire(served)  # which this test still holds
    listed = await connection.models.ListModels(model_service_pb2.ListModelsRequest())

    assert {model.identity.version: (model.state, model.problem) for model in listed.models} == {
        1: (model_service_pb2.MODEL_STATE_UNLOADING, ""),
        2: (model_service_pb2.MODEL_STATE_READY, "its file is gone"),
        3: (model_service_pb2.MODEL_STATE_FAILED, "no end of it"),
        4: (model_service_pb2.MODEL_STATE_UNLOADED, ""),
    }
    assert listed.models[1].loaded_at.seconds == int(served.loaded_at) > 0
    repository.put(replace(given_up, loaded_at=0.0))  # nobody knows when
    got = await connection.models.GetModel(model_service_pb2.GetModelRequest(model=TINY))
    assert not got.model.HasField("loaded_at")


async def test_an_unknown_model_is_not_found(connection: Connection) -> None:
    request = model_service_pb2.GetModelRequest(model=ModelSelector(name="x"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await connection.models.GetModel(request)

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.NOT_FOUND
    assert failed.resource == "x"
    assert "tiny" in failed.message  # what there is instead


async def test_tokens_have_places_ids_and_flags(connection: Connection) -> None:
    request = wire.TokenizeRequest(model=TINY, texts=["a ß b", "", "<s> </s>"])
    response = await connection.stub.Tokenize(request)

    first, empty, special = response.texts
    vocabulary = connection.server.repository.find("tiny", None).model.vocabulary
    assert list(first.tokens) == ["a", "ß", "b"]
    assert list(first.token_ids) == [vocabulary.id(t) for t in ("a", "<unk>", "b")]
    assert list(first.begin_bytes) == [0, 2, 5]
    assert list(first.end_bytes) == [1, 4, 6]
    assert list(first.oov) == [False, True, False]
    assert list(empty.tokens) == []
    assert list(special.oov) == [True, False]  # <s> is never an event


async def test_a_text_over_the_limit_has_its_own_error(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa, max_text_bytes=3)) as connection:
        request = wire.TokenizeRequest(model=TINY, texts=["a", "a b a", "b a", "üü"])
        texts = (await connection.stub.Tokenize(request)).texts

    assert [list(text.tokens) for text in texts] == [["a"], [], ["b", "a"], []]
    assert [text.error.field for text in texts] == ["", "texts[1]", "", "texts[3]"]


async def test_reflection_lists_the_services_and_describes_them(connection: Connection) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(connection.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="lmscore.v1.LanguageModelService"
        ),
    ]
    listed, described = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]

    names = {service.name for service in listed.list_services_response.service}
    assert {
        "lmscore.v1.LanguageModelService",
        "lmscore.v1.ModelService",
        "grpc.health.v1.Health",
    } <= names
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in described.file_descriptor_response.file_descriptor_proto
    ]
    assert "lmscore/v1/language_model_service.proto" in {file.name for file in files}


class BrokenModel(NgramModel):
    """A model with a bug."""

    def score(self, batch: ScoreBatch) -> BatchScores:  # noqa: ARG002
        raise ZeroDivisionError("a secret of the inside")


class HeldModel(NgramModel):
    """A model that scores only when it is let go."""

    quick_bytes = 0  # so that it is held on a thread
    started: threading.Event
    go: threading.Event
    calls: int = 0

    def score(self, batch: ScoreBatch) -> BatchScores:
        self.calls += 1
        self.started.set()
        assert self.go.wait(timeout=60)
        return super().score(batch)


def turned_into(kind: type[NgramModel], path: Path) -> Any:
    model: Any = load_model(path)
    model.__class__ = kind
    return model


async def test_a_bug_is_internal_with_an_id_and_nothing_of_its_inside(
    connection: Connection, tiny_arpa: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_instead(connection, turned_into(BrokenModel, tiny_arpa))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await connection.stub.Score(wire.ScoreRequest(model=TINY, texts=["a"]))

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.INTERNAL
    assert failed.metadata["incident"] in failed.message
    assert "secret" not in failed.message
    logged = "".join(capsys.readouterr())
    assert failed.metadata["incident"] in logged
    assert "a secret of the inside" in logged


@pytest.fixture
def held_model(tiny_arpa: Path) -> Iterator[Any]:
    model = turned_into(HeldModel, tiny_arpa)
    model.started, model.go = threading.Event(), threading.Event()
    yield model
    model.go.set()


async def test_a_full_queue_refuses_and_says_when_to_come_back(
    tiny_arpa: Path, held_model: Any
) -> None:
    settings = settings_for(tiny_arpa, threads=1, max_queued_bytes=10)
    async with running(settings) as connection:
        serve_instead(connection, held_model)
        request = wire.ScoreRequest(model=TINY, texts=["a b a b"])
        first = connection.stub.Score(request)
        await asyncio.to_thread(held_model.started.wait, 30)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await connection.stub.Score(request)
        held_model.go.set()
        assert (await first).scores[0].token_count == 5
        assert (await connection.stub.Score(request)).scores  # there is room again

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.reason == "QUEUE_FULL"
    assert failed.retry_after_seconds == pytest.approx(0.1)


async def test_work_whose_caller_has_gone_is_not_done(tiny_arpa: Path, held_model: Any) -> None:
    async with running(settings_for(tiny_arpa, threads=1)) as connection:
        serve_instead(connection, held_model)
        request = wire.ScoreRequest(model=TINY, texts=["a"])
        running_call = connection.stub.Score(request)
        await asyncio.to_thread(held_model.started.wait, 30)
        with pytest.raises(grpc.aio.AioRpcError) as expired:
            await connection.stub.Score(request, timeout=0.2)
        await until(lambda: connection.server.calls.running == 1)
        cancelled = connection.stub.Score(request)
        await until(lambda: connection.server.calls.running == 2)
        cancelled.cancel()
        await until(lambda: connection.server.calls.running == 1)
        held_model.go.set()
        await running_call
        await connection.stub.Score(request)

    assert expired.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert held_model.calls == 2  # the first and the last


async def test_a_stream_waits_where_a_call_is_refused(tiny_arpa: Path, held_model: Any) -> None:
    settings = settings_for(tiny_arpa, threads=1, max_queued_bytes=10)
    async with running(settings) as connection:
        serve_instead(connection, held_model)
        requests = [
            wire.ScoreStreamRequest(
                request_id=i, score=wire.ScoreRequest(model=TINY, texts=["a b a b"])
            )
            for i in range(5)
        ]
        stream = connection.stub.ScoreStream(iter(requests))
        await asyncio.to_thread(held_model.started.wait, 30)
        held_model.go.set()
        answers = {answer.request_id: answer.WhichOneof("outcome") async for answer in stream}

    assert answers == dict.fromkeys(range(5), "score")
