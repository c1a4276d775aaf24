"""What the command advises: with every error that a user can do something about."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import StatusCode

from lmscore.client import AsyncClient, Client
from lmscore.client.cli.advice import advised
from lmscore.client.errors import LmscoreError, error_class
from tests.client.commands import Lmscore
from tests.client.fake_server import Failure, FakeServer


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        (StatusCode.FAILED_PRECONDITION, "MODEL_LOADING", "lmscore models --wait"),
        (StatusCode.PERMISSION_DENIED, "ADMIN_ONLY", "--address"),
        (StatusCode.UNAUTHENTICATED, "KEY_MISSING", "--api-key-file"),
        (StatusCode.DEADLINE_EXCEEDED, "", "--timeout"),
    ],
)
def test_an_error_of_a_server_comes_with_the_option_that_mends_it(
    server: FakeServer, lmscore: Lmscore, code: StatusCode, reason: str, advice: str
) -> None:
    server.behaviour.failures.append(Failure(code, "so it is", [ErrorInfo(reason=reason)]))

    exit_code, out, err = lmscore("models")
    assert (exit_code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith("lmscore: so it is (")
    assert advice in err


def test_nobody_listening_is_told_from_a_server_with_tls(lmscore: Lmscore) -> None:
    assert "no server listens there" in lmscore("models", "--address", "127.0.0.1:1")[2]
    error = error_class(StatusCode.UNAVAILABLE)("a:1: last error: Socket closed")
    assert "--tls-ca" in advised(error)


def test_an_error_that_has_no_remedy_is_left_as_it_is() -> None:
    assert advised(LmscoreError("so it is")) == "so it is"


def test_check_advises_with_its_own_exit_code(
    server: FakeServer, lmscore: Lmscore, tmp_path: Path
) -> None:
    server.behaviour.failures.append(Failure(StatusCode.UNAUTHENTICATED, "who are you"))
    (tmp_path / "text").write_text("a\n")

    exit_code, _, err = lmscore("check", tmp_path / "text")
    assert exit_code == 2
    assert "who are you (--api-key-file" in err


def test_models_can_be_waited_for(server: FakeServer, lmscore: Lmscore) -> None:
    assert "ready" in lmscore("models", "--wait")[1]

    server.behaviour.loading.add("fake")
    exit_code, out, err = lmscore("models", "--wait", "--timeout", "0.3")
    assert (exit_code, out) == (1, "")
    assert "was not ready within 0.3 s" in err


@pytest.mark.parametrize(
    "address", ["", "localhost", "127.0.0.1", "news.arpa.gz", "http://a:1", "a:", "a:http", "/x"]
)
def test_an_address_that_grpc_would_take_for_another_is_refused(address: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="is not HOST:PORT"):
            kind(address)


@pytest.mark.parametrize("address", ["dns:///a:1", "unix:/run/a", "ipv4:1.2.3.4:5,1.2.3.5:5"])
def test_grpcs_own_schemes_are_addresses_too(address: str) -> None:
    with Client(address) as client:
        assert client.address == address
