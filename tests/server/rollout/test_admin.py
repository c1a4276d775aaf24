"""Loading, unloading and labelling on the admin address."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from lmscore.v1 import model_service_pb2 as wire
from tests.server.harness import Failure, failure_of, running, settings_for
from tests.server.rollout.repositories import Followed, following, put_version


async def load(followed: Followed, version: int, name: str = "m") -> Any:
    return (await followed.admin.LoadModel(wire.LoadModelRequest(name=name, version=version))).model


async def unload(followed: Followed, version: int, *, force: bool = False) -> Any:
    request = wire.UnloadModelRequest(name="m", version=version, force=force)
    return (await followed.admin.UnloadModel(request)).model


async def label(followed: Followed, text: str, version: int | None) -> Any:
    return await followed.admin.SetLabel(
        wire.SetLabelRequest(name="m", label=text, version=version)
    )


async def refused(call: Any) -> Failure:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return failure_of(raised.value)


def serving(root: Path) -> Any:
    return json.loads((root / "m" / "serving.json").read_text())


async def test_an_older_version_is_loaded_and_unloaded_on_demand(tmp_path: Path) -> None:
    for version in (1, 2):
        put_version(tmp_path, version)
    async with following(tmp_path) as followed:
        loaded = await load(followed, 1)
        assert loaded.state == wire.MODEL_STATE_READY
        assert loaded.load_seconds > 0
        assert loaded.loaded_at.seconds > 0
        assert await followed.version(version=1) == 1
        assert await followed.version() == 2

        await unload(followed, 1)
        while await followed.states() != {1: "UNLOADED", 2: "READY"}:  # noqa: ASYNC110 (garbage)
            await asyncio.sleep(0.01)


async def test_unloading_the_newest_version_goes_back_to_the_one_before(tmp_path: Path) -> None:
    for version in (1, 2):
        put_version(tmp_path, version)
    async with following(tmp_path) as followed:
        unloaded = await unload(followed, 2)
        assert unloaded.state in {wire.MODEL_STATE_UNLOADED, wire.MODEL_STATE_UNLOADING}
        assert await followed.version() == 1
    async with following(tmp_path) as restarted:
        assert await restarted.version() == 1
        await load(restarted, 2)
        await restarted.serves(2)


async def test_the_last_version_goes_only_by_force(tmp_path: Path) -> None:
    put_version(tmp_path, 1)
    put_version(tmp_path, 2, content="damaged")
    async with following(tmp_path) as followed:
        failure = await refused(unload(followed, 1))
        assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
        assert "last" in failure.message

        await unload(followed, 1, force=True)
        failure = await refused(followed.version())
        assert failure.code is not grpc.StatusCode.NOT_FOUND
        put_version(tmp_path, 3)
        await followed.serves(3)


async def test_a_version_serves_on_if_no_other_can_be_loaded(tmp_path: Path) -> None:
    put_version(tmp_path, 1, content="damaged")
    put_version(tmp_path, 2)
    async with following(tmp_path) as followed:
        assert (await followed.states())[1] == "UNLOADED"  # it was not tried yet
        failure = await refused(unload(followed, 2))
        assert "serves on" in failure.message
        assert await followed.version() == 2
        assert serving(tmp_path)["unloaded"] == []


async def test_a_version_that_cannot_be_loaded_is_data_loss(tmp_path: Path) -> None:
    put_version(tmp_path, 1)
    folder = put_version(tmp_path, 2, content="damaged")
    async with following(tmp_path) as followed:
        assert (await refused(load(followed, 2))).code is grpc.StatusCode.DATA_LOSS
        assert (await refused(label(followed, "stable", 2))).code is grpc.StatusCode.DATA_LOSS
        assert "stable" not in serving(tmp_path)["labels"]
        (folder / "model.arpa").unlink()
        failure = await refused(load(followed, 2))
        assert failure.code is grpc.StatusCode.DATA_LOSS
        assert "empty" in failure.message


async def test_a_label_follows_on_all_servers_of_the_repository(tmp_path: Path) -> None:
    for version in (1, 2):
        put_version(tmp_path, version)
    async with following(tmp_path) as one, following(tmp_path) as other:
        labelled = (await label(one, "stable", 1)).model
        assert list(labelled.labels) == ["stable"]
        assert await one.version(label="stable") == 1
        await other.serves(1, 2)
        assert await other.version(label="stable") == 1

        failure = await refused(unload(one, 1))
        assert "label stable" in failure.message
        assert not (await label(one, "stable", None)).HasField("model")
        failure = await refused(one.version(label="stable"))
        assert failure.code is grpc.StatusCode.NOT_FOUND
        assert (await refused(label(one, "stable", None))).reason == "LABEL_NOT_FOUND"


async def test_changes_of_several_servers_are_all_kept(tmp_path: Path) -> None:
    put_version(tmp_path, 1)
    async with following(tmp_path) as one, following(tmp_path) as other:
        await asyncio.gather(
            *(label(server, f"l{i}", 1) for i in range(8) for server in (one, other))
        )
    assert serving(tmp_path)["labels"] == {f"l{i}": 1 for i in range(8)}


@pytest.mark.parametrize(
    ("name", "version", "code"),
    [
        ("..", 1, grpc.StatusCode.INVALID_ARGUMENT),
        ("m/../m", 1, grpc.StatusCode.INVALID_ARGUMENT),
        ("", 1, grpc.StatusCode.INVALID_ARGUMENT),
        ("m", 0, grpc.StatusCode.INVALID_ARGUMENT),
        ("m", 7, grpc.StatusCode.NOT_FOUND),
        ("other", 1, grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_what_is_not_there_or_no_name_is_refused(
    tmp_path: Path, name: str, version: int, code: grpc.StatusCode
) -> None:
    put_version(tmp_path, 1)
    async with following(tmp_path) as followed:
        assert (await refused(load(followed, version, name))).code is code


@pytest.mark.parametrize("text", ["", "Stable", "1st", "a/b", "a" * 64])
async def test_what_is_no_label_is_refused(tmp_path: Path, text: str) -> None:
    put_version(tmp_path, 1)
    async with following(tmp_path) as followed:
        assert (await refused(label(followed, text, 1))).fields == ["label"]


async def test_a_repository_that_cannot_be_written_to_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_version(tmp_path, 1)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    async with following(tmp_path) as followed:
        monkeypatch.setattr("lmscore.server.rollout.serving._write", refuse)  # root may write all
        failure = await refused(label(followed, "stable", 1))
    assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
    assert "Permission denied" in failure.message


async def test_the_public_address_changes_nothing(tmp_path: Path) -> None:
    put_version(tmp_path, 1)
    async with following(tmp_path) as followed:
        public = followed.connection.models
        for call in (
            public.LoadModel(wire.LoadModelRequest(name="m", version=1)),
            public.UnloadModel(wire.UnloadModelRequest(name="m", version=1)),
            public.SetLabel(wire.SetLabelRequest(name="m", label="stable", version=1)),
        ):
            failure = await refused(call)
            assert failure.code is grpc.StatusCode.PERMISSION_DENIED
            assert failure.reason == "ADMIN_ONLY"


async def test_without_a_repository_there_is_nothing_to_administer(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa, admin="127.0.0.1:0")) as connection:
        admin = connection.server.admin
        assert admin is not None
        async with grpc.aio.insecure_channel(admin.address) as channel:
            failure = await refused(load(Followed(connection, channel), 1))
    assert "--repository" in failure.message
