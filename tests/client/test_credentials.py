"""Keys and certificates: what goes with a call, and clients of a server that wants them."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from lmscore.client import (
    AsyncClient,
    AuthenticationError,
    Client,
    LmscoreError,
    QuotaExceededError,
    TlsSettings,
    UnauthenticatedError,
    UnavailableError,
)
from lmscore.client.cli.app import run
from lmscore.client.credentials import is_local
from lmscore.server.security.keys import new_key
from tests.client.commands import Lmscore
from tests.client.fake_server import FakeServer
from tests.server.harness import running, settings_for
from tests.server.security.certificates import Authority, Files

KEY = "lmscore_0123456789"


# --- what goes with a call ---


def sent(server: FakeServer) -> dict[str, str | bytes]:
    return server.behaviour.metadata[-1]


CALLS: list[Callable[[Client], object]] = [
    lambda client: client.score(["a"]),
    lambda client: list(client.score_stream(["a"])),
    lambda client: list(client.rescore_stream([])),
    lambda client: client.generate_texts("a"),
    lambda client: client.list_models(),
]


def test_every_call_carries_the_key_and_the_priority(server: FakeServer) -> None:
    with Client(server.address, model="fake", api_key=KEY, priority="bulk") as client:
        for call in CALLS:
            call(client)

    assert len(server.behaviour.metadata) == len(CALLS) - 1  # no lists, no call
    for metadata in server.behaviour.metadata:
        assert metadata["authorization"] == f"Bearer {KEY}"
        assert metadata["lmscore-priority"] == "bulk"


async def test_so_does_every_call_of_tasks(server: FakeServer) -> None:
    async with AsyncClient(server.address, model="fake", api_key=KEY, priority="bulk") as client:
        await client.score(["a"])
        assert [answer async for answer in client.score_stream(["a"])]
        await client.generate_texts("a")
        await client.list_models()

    for metadata in server.behaviour.metadata:
        assert metadata["authorization"] == f"Bearer {KEY}"
        assert metadata["lmscore-priority"] == "bulk"
    assert len(server.behaviour.metadata) == 4


def test_the_environment_has_the_key_of_clients_that_are_given_none(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMSCORE_API_KEY", KEY)
    for given, expected in ((None, f"Bearer {KEY}"), ("other", "Bearer other"), ("", None)):
        with Client(server.address, api_key=given) as client:
            client.list_models()
        assert sent(server).get("authorization") == expected
    assert "lmscore-priority" not in sent(server)


@pytest.mark.parametrize("wrong", ["two words", "line\n", "é", "\0"])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(wrong: str) -> None:
    with pytest.raises(ValueError, match="api_key") as refused:
        Client("127.0.0.1:1", api_key=wrong)

    assert wrong not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:50051", True),
        ("localhost:50051", True),
        ("[::1]:50051", True),
        ("dns:///localhost:50051", True),
        ("ipv4:127.0.0.1:50051", True),
        ("unix:/run/lmscore.sock", True),
        ("scoring:50051", False),
        ("10.0.0.1:50051", False),
        ("dns:///scoring.example:50051", False),
        ("localhost.example:50051", False),
        (":50051", False),
    ],
)
def test_a_key_that_leaves_the_machine_in_the_clear_is_warned_of(address: str, local: bool) -> None:
    assert is_local(address) == local
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        Client(address, api_key=KEY).close()
        Client(address).close()
        Client(address, api_key=KEY, credentials=grpc.ssl_channel_credentials()).close()

    told = [str(each.message) for each in warned if "API key" in str(each.message)]
    assert len(told) == (0 if local else 1)
    assert KEY not in " ".join(told)


def test_a_certificate_needs_its_key_and_tls_excludes_credentials() -> None:
    with pytest.raises(ValueError, match="certificate and key"):
        TlsSettings(certificate="x.pem")
    with pytest.raises(ValueError, match="exclude"):
        Client(credentials=grpc.ssl_channel_credentials(), tls=TlsSettings())
    with pytest.raises(FileNotFoundError):
        Client(tls=TlsSettings(ca="/does/not/exist.pem"))


# --- the command ---


def test_the_command_sends_the_key_of_a_file_and_the_priority(
    server: FakeServer, lmscore: Lmscore, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    code, _, err = lmscore("predict", "a", "--api-key-file", file, "--priority", "bulk")

    assert (code, err) == (0, "")
    assert sent(server)["authorization"] == f"Bearer {KEY}"
    assert sent(server)["lmscore-priority"] == "bulk"


@pytest.mark.parametrize("subcommand", ["rescore", "tune"])
def test_the_commands_for_lists_send_the_key_and_the_priority_too(
    server: FakeServer, lmscore: Lmscore, tmp_path: Path, subcommand: str
) -> None:
    file, lists = tmp_path / "key", tmp_path / "lists.jsonl"
    file.write_text(f"{KEY}\n")
    lists.write_text(
        "".join(f'{{"id": "{i}", "ref": "a", "hyps": [["a", -1], ["b", -2]]}}\n' for i in range(5))
    )
    code, *_ = lmscore(subcommand, lists, "--api-key-file", file, "--priority", "bulk")

    assert code == 0
    assert len(server.behaviour.metadata) > 1
    for metadata in server.behaviour.metadata:
        assert metadata["authorization"] == f"Bearer {KEY}"
        assert metadata["lmscore-priority"] == "bulk"


def test_the_command_warns_of_a_key_that_others_could_read(
    lmscore: Lmscore, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    address = "scoring.invalid:50051"
    code, _, err = lmscore("models", "--address", address, "--api-key-file", file, "--timeout", 0.1)

    assert code == 1
    assert f"the API key goes to {address} unencrypted" in err
    assert KEY not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tls-cert", "{file}"], "--tls-key"),
        (["--tls-ca", "/does/not/exist"], "does not exist"),
        (["--api-key-file", "{file}"], "is empty"),
        (["--priority", "urgent"], "urgent"),
    ],
)
def test_what_cannot_be_is_a_mistake_on_the_command_line(
    lmscore: Lmscore, tmp_path: Path, arguments: list[str], said: str
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    code, _, err = lmscore("models", *(each.format(file=empty) for each in arguments))

    assert code == 2
    assert said in err


# --- a server that wants them ---


@dataclass(frozen=True)
class Guarded:
    """A server with TLS that wants certificates and keys."""

    address: str
    tls: TlsSettings
    key: str
    slow_key: str


@pytest.fixture
async def guarded(tiny_arpa: Path, tmp_path: Path) -> AsyncIterator[Guarded]:
    authority = Authority()
    server, own = (Files(tmp_path / f"{n}.pem", tmp_path / f"{n}.key") for n in ("server", "own"))
    server.write(authority.pair())
    own.write(authority.pair())
    ca, keys = tmp_path / "ca.pem", tmp_path / "keys.toml"
    ca.write_bytes(authority.pem)
    (key, lines), (slow_key, slow) = new_key("team"), new_key("slow")
    slow += "requests_per_second = 0.01\n"
    keys.write_text(lines + slow)
    settings = settings_for(
        tiny_arpa,
        tls_certificate=server.certificate,
        tls_key=server.key,
        tls_client_ca=ca,
        api_keys=keys,
    )
    tls = TlsSettings(ca, own.certificate, own.key)
    async with running(settings) as connected:
        yield Guarded(connected.server.address, tls, key, slow_key)


async def test_a_client_with_certificate_and_key_is_answered(guarded: Guarded) -> None:
    def blocking() -> int:
        with Client(guarded.address, model="tiny", tls=guarded.tls, api_key=guarded.key) as client:
            client.wait_until_ready()
            return len(client.score(["a b"]))

    assert await asyncio.to_thread(blocking) == 1
    async with AsyncClient(
        guarded.address, model="tiny", tls=guarded.tls, api_key=guarded.key
    ) as client:
        assert len(await client.score(["a b"])) == 1


async def test_what_is_missing_has_its_error(guarded: Guarded) -> None:
    async def failure(**options: Any) -> LmscoreError:
        async with AsyncClient(guarded.address, model="tiny", **options) as client:
            with pytest.raises(LmscoreError) as raised:
                await client.score(["a b"])
            return raised.value

    nobody = await failure(tls=guarded.tls)
    assert isinstance(nobody, UnauthenticatedError)
    assert isinstance(nobody, AuthenticationError)
    assert nobody.reason == "API_KEY_MISSING"
    assert (await failure(tls=guarded.tls, api_key="guess")).reason == "API_KEY_UNKNOWN"
    no_certificate = TlsSettings(ca=guarded.tls.ca)
    assert isinstance(await failure(tls=no_certificate, api_key=guarded.key), UnavailableError)
    assert isinstance(await failure(), UnavailableError)  # not encrypted at all


async def test_a_key_over_its_quota_knows_until_when(guarded: Guarded) -> None:
    async with AsyncClient(
        guarded.address, model="tiny", tls=guarded.tls, api_key=guarded.slow_key
    ) as client:
        await client.score(["a b"])
        with pytest.raises(QuotaExceededError) as raised:
            await client.score(["a b"])

    assert raised.value.retry_after_seconds is not None
    assert 30 < raised.value.retry_after_seconds <= 100  # less what has passed since the first


async def test_a_certificate_of_another_name_can_be_accepted_by_that_name(
    tiny_arpa: Path, tmp_path: Path
) -> None:
    authority, ca = Authority(), tmp_path / "ca.pem"
    files = Files(tmp_path / "server.pem", tmp_path / "server.key")
    files.write(authority.pair("scoring.example"))
    ca.write_bytes(authority.pem)
    settings = settings_for(tiny_arpa, tls_certificate=files.certificate, tls_key=files.key)
    async with running(settings, load=False) as connected:
        address = connected.server.address
        async with AsyncClient(address, tls=TlsSettings(ca)) as client:
            with pytest.raises(UnavailableError):
                await client.list_models()
        tls = TlsSettings(ca, server_name="scoring.example")
        async with AsyncClient(address, tls=tls) as client:
            assert len(await client.list_models()) == 1


async def test_the_command_connects_with_certificate_and_key(
    guarded: Guarded, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMSCORE_API_KEY", guarded.key)
    monkeypatch.setenv("LMSCORE_ADDRESS", guarded.address)
    tls = guarded.tls
    arguments = ["--tls-ca", tls.ca, "--tls-cert", tls.certificate, "--tls-key", tls.key]
    code = await asyncio.to_thread(run, ["models", *map(str, arguments)])

    out, err = capfd.readouterr()
    assert (code, err) == (0, "")
    assert "tiny" in out
