"""The line that every call leaves in the log."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from structlog.testing import capture_logs

from lmscore.server.call import Call
from lmscore.server.logs import configure_logs
from lmscore.server.observer import Ending
from lmscore.server.request_id import request_id
from lmscore.server.request_log import RequestLog
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.harness import Connection, failure_of, running, settings_for
from tests.server.held_model import HeldModel, serve_instead
from tests.server.test_generation import until

REQUEST = wire.ScoreRequest(model=ModelSelector(name="tiny"), texts=["a secret", "b"])


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture
async def connection(tiny_arpa: Path) -> AsyncIterator[Connection]:
    async with running(settings_for(tiny_arpa, request_log_rate=20)) as connected:
        yield connected


def requests(lines: list[Any]) -> list[Any]:
    return [line for line in lines if line["event"] == "request"]


async def test_a_call_leaves_one_line_and_no_text(connection: Connection, lines: list[Any]) -> None:
    call = connection.stub.Score(REQUEST, metadata=(("x-request-id", "abc-1"),))
    await call
    await connection.server.calls.drain()

    [line] = requests(lines)
    times = {"queue_ms", "compute_ms", "total_ms"}
    assert {key: value for key, value in line.items() if key not in times | {"caller"}} == {
        "event": "request",
        "log_level": "info",
        "id": "abc-1",
        "method": "Score",
        "model": "tiny",
        "version": 1,
        "code": "OK",
        "reason": "",
        "tokens": 5,
    }
    assert times | {"caller"} <= set(line)
    assert line["total_ms"] >= line["compute_ms"] >= 0
    assert "secret" not in str(lines)
    assert dict(await call.trailing_metadata())["x-request-id"] == "abc-1"


async def test_a_failure_says_its_reason_and_keeps_its_details(
    connection: Connection, lines: list[Any]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await connection.stub.Score(wire.ScoreRequest(model=ModelSelector(name="secret")))
    await connection.server.calls.drain()

    [line] = requests(lines)
    told = {key: line[key] for key in ("log_level", "code", "reason", "model")}
    assert told == {
        "log_level": "warning",
        "code": "NOT_FOUND",
        "reason": "MODEL_NOT_FOUND",
        "model": "",
    }
    assert dict(raised.value.trailing_metadata() or ())["x-request-id"] == line["id"]
    assert failure_of(raised.value).reason == "MODEL_NOT_FOUND"
    assert "secret" not in str(lines)


async def test_an_incident_is_found_by_the_callers_id(
    connection: Connection, lines: list[Any]
) -> None:
    serve_instead(connection, HeldModel(KeyError("k")))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await connection.stub.Score(REQUEST, metadata=(("x-request-id", "abc-2"),))
    await connection.server.calls.drain()

    [incident] = [line for line in lines if line["event"] == "internal error"]
    assert incident["request"] == "abc-2"
    assert incident["incident"] == failure_of(raised.value).metadata["incident"]
    assert requests(lines)[0]["reason"] == "INTERNAL"


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", "tab\t", "\x7f", "über"])
def test_an_id_that_would_spoil_a_log_is_replaced(given: str) -> None:
    made = request_id({"x-request-id": given})

    assert made != given
    assert made != request_id({})
    assert request_id({"x-request-id": made}) == made


async def test_many_calls_leave_few_lines_and_room_for_failures(lines: list[Any]) -> None:
    now = 100.0
    log = RequestLog(10, clock=lambda: now)
    call = Call("Score", "nobody")
    log.ended(call, Ending())
    now = 100.99
    for code, count in [("OK", 99), ("INTERNAL", 20)]:
        for _ in range(count):
            log.ended(call, Ending(grpc.StatusCode[code], ""))

    assert [line["code"] for line in requests(lines)] == ["OK"] * 5 + ["INTERNAL"] * 5
    await until(lambda: len(lines) == 11)  # when the second is over
    now = 101.0
    log.ended(call, Ending())
    left_out, line = lines[-2:]
    assert left_out["event"] == "requests left out of the log"
    assert left_out["codes"] == {"INTERNAL": 15, "OK": 95}
    assert line["event"] == "request"


async def test_no_lines_are_written_if_none_are_wanted(tiny_arpa: Path, lines: list[Any]) -> None:
    async with running(settings_for(tiny_arpa, request_log_rate=0)) as connection:
        await connection.stub.Score(REQUEST)

    assert requests(lines) == []


@pytest.mark.parametrize("form", ["json", "console"])
def test_lines_are_for_machines_or_for_people(form: Any) -> None:
    before = structlog.get_config()
    written = io.StringIO()
    try:
        with redirect_stderr(written):
            configure_logs(form)
            RequestLog(10).ended(Call("Score", "nobody", id="abc"), Ending())
    finally:
        structlog.configure(**before)

    line = written.getvalue()
    assert line.count("\n") == 1
    if form == "json":
        assert json.loads(line)["id"] == "abc"
    else:
        assert "id=abc" in line
