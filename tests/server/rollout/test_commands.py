"""The commands of people who roll versions out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lmscore.client.cli.app import run
from lmscore.server import logs
from lmscore.server.security.keys import new_key
from tests.server.harness import command_here, running
from tests.server.rollout.repositories import following, put_version, repository_settings
from tests.server.security.certificates import Authority, Files


async def lmscore(*arguments: str) -> int:
    return await asyncio.to_thread(run, arguments)


async def test_versions_are_loaded_labelled_listed_and_unloaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in (1, 2):
        put_version(tmp_path / "models", version)
    put_version(tmp_path / "models", 3, content="damaged")
    texts = tmp_path / "texts"
    texts.write_text("a\n")
    async with following(tmp_path / "models") as followed:
        assert followed.server.admin is not None
        admin = ("--address", followed.server.admin.address)
        public = ("--address", followed.server.address)
        capsys.readouterr()

        assert await lmscore("admin", "label", "m", "1", "stable", *admin) == 0
        assert "m version 1: ready, stable" in capsys.readouterr().err
        assert await lmscore("score", str(texts), "--model", "m@stable", *public) == 0
        assert "(m version 1)" in capsys.readouterr().err
        assert await lmscore("score", str(texts), "--model", "m:2", *public) == 0
        assert "(m version 2)" in capsys.readouterr().err

        assert await lmscore("models", *public) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split()[-2:] == ["labels", "problem"]
        assert lines[1].endswith("stable")
        assert lines[3].split()[:3] == ["m", "3", "failed"]
        assert "model.arpa: not an ARPA file" in lines[3]

        assert await lmscore("admin", "load", "m", "3", *admin) == 1
        assert "not an ARPA file" in capsys.readouterr().err
        assert await lmscore("admin", "unload", "m", "1", *admin) == 1
        assert "label stable" in capsys.readouterr().err
        assert await lmscore("admin", "label", "m", "none", "stable", *admin) == 0
        assert await lmscore("admin", "unload", "m", "2", "--force", *admin) == 0
        assert await lmscore("admin", "label", "m", "last", "stable", *admin) == 2
        assert await lmscore("admin", "load", "m", "1", *public) == 1
        assert "only on the server's admin address" in capsys.readouterr().err


async def test_operators_need_a_key_and_encryption_where_a_server_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_version(tmp_path / "models", 1)
    files = Files(tmp_path / "server.pem", tmp_path / "server.key")
    authority = Authority()
    files.write(authority.pair())
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    key, lines = new_key("operator")
    (tmp_path / "keys.toml").write_text(f"{lines}admin = true\n")
    (tmp_path / "operator.key").write_text(key)
    settings = repository_settings(
        tmp_path / "models",
        tls_certificate=files.certificate,
        tls_key=files.key,
        api_keys=tmp_path / "keys.toml",
    )
    async with running(settings) as connection:
        assert connection.server.admin is not None
        label = ("admin", "label", "m", "1", "stable")
        encrypted = (
            "--address", connection.server.admin.address, "--tls-ca", str(tmp_path / "ca.pem"),
        )  # fmt: skip

        assert await lmscore(*label, *encrypted) == 1
        assert "key" in capsys.readouterr().err
        assert (
            await lmscore(*label, *encrypted, "--api-key-file", str(tmp_path / "operator.key")) == 0
        )
        assert "m version 1: ready, stable" in capsys.readouterr().err


def test_dry_run_fails_if_there_is_no_model_where_one_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "configure_logs", lambda *_, **__: None)  # of this process
    put_version(tmp_path / "too/deep", 1)
    with capture_logs() as lines:
        done = command_here("--repository", str(tmp_path / "too"), "--dry-run")

    assert done.exit_code == 1
    assert "too: there is no model in it" in done.stderr
    problems = [line["problem"] for line in lines if line["event"] == "repository problem"]
    assert problems[0] == "deep/m: not a version, which is a number from 1"


def test_dry_run_tries_the_newest_version_of_each_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "configure_logs", lambda *_, **__: None)  # of this process
    for version in (1, 2):
        put_version(tmp_path, version)
    with capture_logs() as lines:
        done = command_here("--repository", str(tmp_path), "--dry-run")

    assert done.exit_code == 0
    assert {line["path"] for line in lines} == {str(tmp_path / "m/2/model.arpa")}
    assert done.stdout.startswith("m: ngram, 5 tokens")
