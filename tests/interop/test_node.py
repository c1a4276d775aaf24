"""A client of another make: gRPC for Node.js, which reads the contract at run time."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.rpc
import pytest

from tests.client.fake_server import Behaviour, FakeServer, start
from tests.server.harness import running_on_a_thread, settings_for

HERE = Path(__file__).parent
NODE = shutil.which("node")
INCLUDE = [HERE.parents[1] / "proto", *(Path(each).parents[1] for each in google.rpc.__path__)]

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (HERE / "node_modules" / "@grpc").exists(),
        reason="the packages are not installed: npm ci --ignore-scripts --prefix tests/interop",
    ),
]


def call(
    address: str, method: str, request: dict[str, Any], cancel_after: int | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The messages of the answer, and how the call ended."""
    wanted = {
        "include": [str(folder) for folder in INCLUDE],
        "address": address,
        "method": method,
        "request": request,
        "cancelAfter": cancel_after,
    }
    done = subprocess.run(
        [str(NODE), HERE / "call.mjs", json.dumps(wanted)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *messages, end = map(json.loads, done.stdout.splitlines())
    return messages, end


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    running = start(Behaviour())
    yield running
    running.grpc_server.stop(grace=None).wait()


@pytest.fixture(scope="module")
def address(tiny_arpa: Path) -> Iterator[str]:
    with running_on_a_thread(settings_for(tiny_arpa)) as listening:
        yield listening


def test_scores_are_those_worked_out_by_hand(address: str) -> None:
    request = {"model": {"name": "tiny"}, "texts": ["a b"], "detail": "SCORE_DETAIL_TOKENS"}
    (answer,), end = call(address, "Score", request)

    assert end["status"] == "OK"
    (score,) = answer["scores"]
    assert score["log_prob"] == pytest.approx(math.log(0.6 * 0.5 * 0.5), abs=1e-5)
    assert score["tokens"]["tokens"] == ["a", "b", "</s>"]
    assert score["token_count"] == 3
    assert answer["model"]["version"] == "1"


def test_ranking_follows_the_model(address: str) -> None:
    hypotheses = [{"text": "b a", "features": [0.0]}, {"text": "a b", "features": [-0.1]}]
    request = {
        "model": {"name": "tiny"},
        "lists": [{"id": "x", "hypotheses": hypotheses}],
        "feature_names": ["score"],
        "weights": [{}, {"lm_weight": 0}],
    }
    (answer,), _ = call(address, "Rescore", request)

    assert [ranking["order"][0] for ranking in answer["lists"][0]["rankings"]] == [1, 0]


def test_errors_have_their_details(address: str) -> None:
    messages, end = call(address, "Score", {"model": {"name": ""}, "texts": ["a"]})
    details = {each["type"]: each for each in end["details"]}

    assert (messages, end["status"]) == ([], "INVALID_ARGUMENT")
    assert details["ErrorInfo"]["reason"] == "INVALID_FIELD"
    assert details["BadRequest"]["field_violations"][0]["field"] == "model.name"


def test_generated_tokens_are_streamed(address: str) -> None:
    request = {"model": {"name": "tiny"}, "alternatives": 2, "seed": "7"}
    messages, end = call(address, "Generate", request)
    tokens = [token for message in messages for token in message.get("tokens", ())]
    (finished,) = messages[-1]["finished"]

    assert end["status"] == "OK"
    assert messages[0]["started"]["seed"] == "7"
    assert messages[0]["started"]["model"]["name"] == "tiny"
    assert [token["token"] for token in tokens] == ["a", "b", "</s>"]
    assert tokens[0]["alternatives"]["tokens"][0] == "a"
    assert "".join(token.get("text", "") for token in tokens) + finished.get("text", "") == "a b"
    assert finished["reason"] == "FINISH_REASON_END_OF_TEXT"
    assert finished["log_prob"] == pytest.approx(math.log(0.15), abs=1e-5)


def test_a_generation_of_the_server_can_be_cancelled(address: str) -> None:
    long = {"num_sequences": 16, "min_tokens": 4096, "max_tokens": 4096}
    messages, end = call(address, "Generate", {"model": {"name": "tiny"}, **long}, cancel_after=1)

    assert (len(messages), end["status"]) == (1, "CANCELLED")
    assert "finished" not in messages[0]


def test_errors_of_a_stream_have_their_details(address: str) -> None:
    request = {"model": {"name": "tiny"}, "sampling": {"top_p": 2}}
    messages, end = call(address, "Generate", request)

    assert (messages, end["status"]) == ([], "INVALID_ARGUMENT")
    violations = [each for each in end["details"] if each["type"] == "BadRequest"]
    assert violations[0]["field_violations"][0]["field"] == "sampling.top_p"


def test_cancelling_reaches_the_server(fake: FakeServer) -> None:
    fake.behaviour.generate_messages = 3
    request = {"model": {"name": "fake"}, "prompt": "the"}
    messages, end = call(fake.address, "Generate", request, cancel_after=2)

    assert end["status"] == "CANCELLED"
    assert len(messages) == 2
    assert fake.behaviour.stream_ends.get(timeout=5) == "cancelled"


def test_every_kind_of_event_is_read(fake: FakeServer) -> None:
    request = {"model": {"name": "fake"}, "prompt": "the", "beam": {"width": 1, "num_results": 1}}
    messages, end = call(fake.address, "Generate", {**request, "seed": str(2**64 - 1)})

    assert end["status"] == "OK"
    assert messages[0]["started"]["seed"] == str(2**64 - 1)
    assert [each["token"] for message in messages for each in message.get("tokens", ())] == [
        "a",
        "aa",
        "aaa",
    ]
    (finished,) = messages[-1]["finished"]
    assert (finished["reason"], finished["score"]) == ("FINISH_REASON_LENGTH", -3.0)
