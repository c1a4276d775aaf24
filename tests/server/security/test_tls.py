"""TLS on a real port: certificates, renewed ones, and those of clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from lmscore.server.building import build
from lmscore.server.settings import Settings
from lmscore.server.settings_sources import ConfigurationError, load_settings
from lmscore.server.stages import StartError
from lmscore.v1.model_service_pb2 import ListModelsRequest
from lmscore.v1.model_service_pb2_grpc import ModelServiceStub
from tests.server.harness import running, settings_for
from tests.server.security.certificates import Authority, Files


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    written = Files(tmp_path / "server.pem", tmp_path / "server.key")
    written.write(authority.pair())
    return written


def tls_settings(model: Path, files: Files, **more: Any) -> Settings:
    return settings_for(model, tls_certificate=files.certificate, tls_key=files.key, **more)


async def models(address: str, credentials: grpc.ChannelCredentials) -> int:
    async with grpc.aio.secure_channel(address, credentials) as channel:
        stub: Any = ModelServiceStub(channel)
        answer = await stub.ListModels(ListModelsRequest(), timeout=60)
        return len(answer.models)


async def test_a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not(
    tiny_arpa: Path, files: Files, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = authority.pair(), authority.pair()
    files.write(first)
    async with running(tls_settings(tiny_arpa, files), load=False) as connected:

        async def served() -> str:
            return await asyncio.to_thread(authority.served_digest, connected.server.port)

        assert await served() == first.digest
        files.certificate.write_bytes(second.certificate)  # its key is still on the way
        assert await served() == first.digest
        assert await served() == first.digest
        files.key.write_bytes(second.key)
        assert await served() == second.digest
        files.certificate.write_bytes(second.certificate[:100])
        assert await served() == second.digest
    log = "".join(capsys.readouterr())
    assert log.count("does not belong") == 1  # of two connections
    assert log.count("holds no certificate") == 1


async def test_a_client_ca_lets_only_clients_with_its_certificates_in(
    tiny_arpa: Path, tmp_path: Path, files: Files, authority: Authority
) -> None:
    clients, strangers = Authority(), Authority()
    ca = tmp_path / "clients.pem"
    ca.write_bytes(clients.pem)
    settings = tls_settings(tiny_arpa, files, tls_client_ca=ca)
    async with running(settings, load=False) as connected:
        address = connected.server.address
        assert await models(address, authority.credentials(clients.pair())) == 1
        for client in (None, strangers.pair()):
            with pytest.raises(grpc.RpcError) as refused:
                await models(address, authority.credentials(client))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_authority_is_not_trusted(
    tiny_arpa: Path, files: Files
) -> None:
    async with running(tls_settings(tiny_arpa, files), load=False) as connected:
        with pytest.raises(grpc.RpcError) as refused:
            await models(connected.server.address, Authority().credentials())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def encrypted(key: bytes) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("certificate", None, "No such file"),
        ("certificate", b"text", "holds no certificate"),
        ("certificate", b"\xff", "holds no certificate"),
        ("key", None, "No such file"),
        ("key", b"text", "holds no private key"),
        ("key", encrypted, "encrypted with a password"),
        ("key", lambda key: key[:100], "cannot be used with"),
        ("key", lambda _: Authority().pair().key, "does not belong to the certificate"),
    ],
)
async def test_a_file_that_cannot_be_used_stops_the_start_with_its_name(
    tiny_arpa: Path,
    files: Files,
    name: str,
    content: bytes | Callable[[bytes], bytes] | None,
    said: str,
) -> None:
    path = files.damage(name, content)
    with pytest.raises(StartError) as refused:
        await build(tls_settings(tiny_arpa, files))

    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)


@pytest.mark.parametrize("half", ["tls_certificate", "tls_key", "tls_client_ca"])
def test_half_of_tls_is_a_mistake_in_the_settings(half: str) -> None:
    with pytest.raises(ConfigurationError, match="need"):
        load_settings({half: "x.pem"})
