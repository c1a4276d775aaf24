"""A server that follows a repository."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import shutil
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lmscore.server.building import build
from lmscore.server.model_source import ModelSource
from lmscore.server.repository import ServedModel
from lmscore.server.stages import StartError
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub
from tests.server.harness import failure_of
from tests.server.rollout.repositories import (
    arpa,
    following,
    log_prob_of_a,
    put_version,
    repository_settings,
)
from tests.server.test_generation import SMALL_WINDOW, until


@contextmanager
def without_collector() -> Iterator[None]:
    """What goes has to go by itself."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def health_of(followed: object, name: str) -> object:
    stub = health_pb2_grpc.HealthStub(followed.connection.channel)  # type: ignore[attr-defined]
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status


async def test_an_empty_repository_serves_what_is_put_there_later(tmp_path: Path) -> None:
    async with following(tmp_path) as followed:
        assert await followed.models() == {}
        put_version(tmp_path, 1)
        await followed.serves(1)

        version, log_prob = await followed.score()
        assert version == 1
        assert log_prob == pytest.approx(log_prob_of_a(1), rel=1e-5)
        assert await health_of(followed, "m") == health_pb2.HealthCheckResponse.SERVING


async def test_a_new_version_answers_and_the_old_one_is_freed(tmp_path: Path) -> None:
    put_version(tmp_path, 1)
    async with following(tmp_path) as followed:
        with without_collector():
            old = weakref.ref(followed.server.repository.find("m", None).model)
            put_version(tmp_path, 2)
            await followed.serves(2)

            version, log_prob = await followed.score()
            assert version == 2
            assert log_prob == pytest.approx(log_prob_of_a(2), rel=1e-5)
            await until(lambda: old() is None)
        assert await followed.states() == {1: "UNLOADED", 2: "READY"}


async def test_only_the_newest_versions_are_loaded(tmp_path: Path) -> None:
    for version in (1, 2, 3, 10):
        put_version(tmp_path, version)
    async with following(tmp_path, keep_versions=2) as followed:
        await followed.serves(3, 10)

        assert await followed.version() == 10
        assert await followed.version(version=3) == 3
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await followed.score(version=1)
        failure = failure_of(raised.value)
        assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
        assert failure.reason == "MODEL_NOT_LOADED"


async def test_running_generations_keep_their_model_and_then_it_goes(tmp_path: Path) -> None:
    put_version(tmp_path, 1)
    async with following(tmp_path) as followed:
        gone, loop = asyncio.Event(), asyncio.get_running_loop()
        old = followed.server.repository.find("m", None).model
        weakref.finalize(old, loop.call_soon_threadsafe, gone.set)
        del old
        # More than gRPC keeps for a reader that does not read: it cannot end too early.
        request = wire.GenerateRequest(
            model=ModelSelector(name="m"), max_tokens=4000, min_tokens=4000, alternatives=4
        )
        address = followed.server.address
        async with grpc.aio.insecure_channel(address, options=SMALL_WINDOW) as channel:
            call: Any = LanguageModelServiceStub(channel).Generate(request)
            started = (await call.read()).started
            put_version(tmp_path, 2)
            await followed.serves(2)

            assert (await followed.states())[1] == "UNLOADING"
            finished = []
            while (response := await call.read()) is not grpc.aio.EOF:
                finished += response.finished
        assert started.model.version == 1
        assert [each.token_count for each in finished] == [4000]
        await gone.wait()  # its last turn ends a moment after the call
        assert (await followed.states())[1] == "UNLOADED"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (arpa(-0.2)[:60], "model.arpa"),
        ("no model", "model.arpa"),
        ("", "model.arpa"),
    ],
)
async def test_a_damaged_version_is_shown_and_the_old_one_serves_on(
    tmp_path: Path, content: str, problem: str
) -> None:
    put_version(tmp_path, 1)
    async with following(tmp_path) as followed:
        folder = put_version(tmp_path, 2, content=content)
        said = await followed.fails(2)

        assert problem in said
        assert str(tmp_path) not in said  # callers need not know where it is
        assert await followed.version() == 1
        assert (await followed.models())[2].problem == said
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await followed.score(version=2)
        assert raised.value.code() is grpc.StatusCode.DATA_LOSS

        (folder / "model.arpa").write_text(arpa(-0.2))  # it is tried again when its files change
        await followed.serves(2)
        assert await followed.version() == 2


async def test_a_folder_with_several_files_says_so(tmp_path: Path) -> None:
    folder = put_version(tmp_path, 1)
    (folder / "other.arpa").write_text("")
    async with following(tmp_path) as followed:
        assert "2 files (model.arpa, other.arpa)" in await followed.fails(1)
        assert await health_of(followed, "m") == health_pb2.HealthCheckResponse.NOT_SERVING
        (folder / "other.arpa").unlink()
        await followed.serves(1)


async def test_a_version_is_loaded_when_nobody_writes_to_it_any_more(tmp_path: Path) -> None:
    async with following(tmp_path) as followed:
        folder = tmp_path / "m" / "1"
        folder.mkdir(parents=True)
        follower = followed.server.follower
        assert follower is not None
        content = arpa(-0.1)
        for size in range(20, len(content), 20):
            (folder / "model.arpa").write_text(content[:size])
            await follower.look()
            assert not isinstance(followed.server.repository.versions("m")[1], ServedModel)
        (folder / "model.arpa").write_text(content)
        await followed.serves(1)
        assert (await followed.models())[1].problem == ""


@pytest.mark.parametrize(
    ("probe", "problem"),
    [
        ({"text": "a", "log_prob": log_prob_of_a(1) + math.log((1 - 10**-0.1) / 3)}, ""),
        ({"text": "a", "log_prob": -5.0}, "not -5.000000"),
        ({"text": "a", "log_prob": -5.0, "tolerance": 10}, ""),
        ({"text": "a", "log_prob": "-5"}, "log_prob is not a finite number"),
        ({"text": "a", "logprob": -5.0}, "not an object of text, log_prob and tolerance"),
        ([], "not an object"),
    ],
)
async def test_a_version_has_to_score_as_its_probe_says(
    tmp_path: Path, probe: object, problem: str
) -> None:
    folder = put_version(tmp_path, 1)
    (folder / "probe.json").write_text(json.dumps(probe))
    async with following(tmp_path) as followed:
        if problem:
            assert problem in await followed.fails(1)
        else:
            await followed.serves(1)


async def test_a_removed_version_goes_unless_it_is_the_only_one(tmp_path: Path) -> None:
    put_version(tmp_path, 1)
    put_version(tmp_path, 2)
    async with following(tmp_path, keep_versions=2) as followed:
        await followed.serves(1, 2)
        shutil.rmtree(tmp_path / "m" / "2")
        await followed.serves(1)
        shutil.rmtree(tmp_path / "m" / "1")
        repository = followed.server.repository
        await followed.follow(lambda: "removed" in repository.find("m", None).problem)

        assert await followed.version() == 1
        assert "removed" in (await followed.models())[1].problem
        (tmp_path / "m").rmdir()
        await followed.follow(lambda: not repository.names())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await followed.version()
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert await health_of(followed, "m") == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def test_a_repository_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "models"
    put_version(root, 1)
    async with following(root) as followed:
        root.rename(tmp_path / "away")
        follower = followed.server.follower
        assert follower is not None
        await follower.look()
        assert await followed.version() == 1


async def test_labels_name_versions_and_move_when_those_are_loaded(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        put_version(tmp_path, version)
    serving = tmp_path / "m" / "serving.json"
    serving.write_text('{"labels": {"stable": 1, "canary": 3}}')
    async with following(tmp_path) as followed:
        await followed.serves(1, 3)
        assert await followed.version(label="stable") == 1
        assert await followed.version(label="canary") == 3
        assert {v: list(m.labels) for v, m in (await followed.models()).items()} == {
            1: ["stable"],
            2: [],
            3: ["canary"],
        }

        put_version(tmp_path, 4, content="damaged")
        serving.write_text('{"labels": {"stable": 4}}')
        await followed.fails(4)
        assert await followed.version(label="stable") == 1  # where it led before

        serving.write_text('{"labels": {"stable": 2}}')
        await followed.serves(2, 3)
        assert await followed.version(label="stable") == 2
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await followed.version(label="canary")
        failure = failure_of(raised.value)
        assert failure.code is grpc.StatusCode.NOT_FOUND
        assert failure.reason == "LABEL_NOT_FOUND"
        assert "it has: stable" in failure.message


async def test_a_version_and_a_label_are_too_much(tmp_path: Path) -> None:
    put_version(tmp_path, 1)
    async with following(tmp_path) as followed:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await followed.version(version=1, label="stable")
        assert failure_of(raised.value).fields == ["model.label"]


async def test_a_damaged_serving_file_leaves_things_as_they_are(tmp_path: Path) -> None:
    for version in (1, 2):
        put_version(tmp_path, version)
    serving = tmp_path / "m" / "serving.json"
    serving.write_text('{"labels": {"stable": 1}}')
    async with following(tmp_path) as followed:
        await followed.serves(1, 2)
        serving.write_text('{"labels": {"stable"')
        follower = followed.server.follower
        assert follower is not None
        await follower.look()
        assert await followed.version(label="stable") == 1


async def test_files_that_change_under_a_loaded_version_are_told_of(tmp_path: Path) -> None:
    folder = put_version(tmp_path, 1)
    async with following(tmp_path) as followed:
        repository = followed.server.repository
        (folder / "model.arpa").write_text(arpa(-0.5))
        await followed.follow(lambda: repository.find("m", None).problem)

        _, log_prob = await followed.score()
        assert log_prob == pytest.approx(log_prob_of_a(1), rel=1e-5)
        assert "changed" in (await followed.models())[1].problem


async def test_a_name_in_both_places_stops_the_start(tmp_path: Path) -> None:
    put_version(tmp_path, 1)
    source = ModelSource(name="m", path=tmp_path / "m" / "1" / "model.arpa")
    with pytest.raises(StartError, match="rename one"):
        await build(repository_settings(tmp_path, model=(source,)))


async def test_reloading_leaves_no_threads_no_handles_and_no_models_behind(tmp_path: Path) -> None:
    put_version(tmp_path, 1)
    async with following(tmp_path) as followed:
        process, follower = psutil.Process(os.getpid()), followed.server.follower
        assert follower is not None

        async def held() -> tuple[int, int]:
            # On the thread that looks into folders, so that it has none open.
            return await follower.watcher.run(process.num_fds), threading.active_count()

        old: list[weakref.ref[object]] = []
        for version in range(2, 24):
            old.append(weakref.ref(followed.server.repository.find("m", None).model))
            put_version(tmp_path, version)
            await followed.serves(version)
            assert await followed.version() == version
            shutil.rmtree(tmp_path / "m" / str(version - 1))
            if version == 4:
                handles, threads = await held()

        async with asyncio.timeout(60):  # some are in use for a moment
            while (now := await held())[0] > handles or now[1] > threads:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await until(lambda: [ref() for ref in old] == [None] * len(old))
