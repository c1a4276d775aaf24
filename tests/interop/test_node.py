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
from grpc import StatusCode

from tests.client.fake_server import Behaviour, Failure, FakeServer, start
from tests.client.served import served
from tests.docs.markdown import ROOT, blocks

HERE = Path(__file__).parent
CLIENTS = ROOT / "docs" / "clients"
NODE = shutil.which("node")
INCLUDE = [ROOT / "proto", *(Path(each).parents[1] for each in google.rpc.__path__)]

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (HERE / "node_modules" / "@grpc").exists(),
        reason="the packages are not installed: npm ci --ignore-scripts --prefix tests/interop",
    ),
]


def node(script: Path, *arguments: str, cwd: Path | None = None) -> list[str]:
    """The lines that a program prints."""
    done = subprocess.run(
        [str(NODE), script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
        cwd=cwd,
    )
    return done.stdout.splitlines()


Outcome = tuple[list[dict[str, Any]], dict[str, Any]]
"""The messages of an answer, and how the call ended."""


def call(address: str, *calls: dict[str, Any], **settings: Any) -> list[Outcome]:
    """What becomes of calls that one program makes."""
    include = [str(folder) for folder in INCLUDE]
    wanted = {"include": include, "address": address, "calls": calls, **settings}
    lines = map(json.loads, node(HERE / "call.mjs", json.dumps(wanted)))
    return [(line["messages"], line["end"]) for line in lines]


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    running = start(Behaviour())
    yield running
    running.grpc_server.stop(grace=None).wait()


@pytest.fixture(scope="module")
def address(tiny_arpa: Path) -> Iterator[str]:
    with served({"tiny": tiny_arpa, "news": tiny_arpa}) as listening:
        yield listening


TINY = {"name": "tiny"}
HYPOTHESES = [{"text": "b a", "features": [0.0]}, {"text": "a b", "features": [-0.1]}]
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "scores": ("Score", {"model": TINY, "texts": ["a b"], "detail": "SCORE_DETAIL_TOKENS"}),
    "ranking": (
        "Rescore",
        {
            "model": TINY,
            "lists": [{"id": "x", "hypotheses": HYPOTHESES}],
            "feature_names": ["score"],
            "weights": [{}, {"lm_weight": 0}],
        },
    ),
    "no model": ("Score", {"model": {"name": ""}, "texts": ["a"]}),
    "text": ("Generate", {"model": TINY, "alternatives": 2, "seed": "7"}),
    "long text": (
        "Generate",
        {"model": TINY, "num_sequences": 16, "min_tokens": 4096, "max_tokens": 4096},
    ),
    "no strategy": ("Generate", {"model": TINY, "sampling": {"top_p": 2}}),
}


@pytest.fixture(scope="module")
def outcomes(address: str) -> dict[str, Outcome]:
    """What becomes of all of these calls, made by one program."""
    calls: list[dict[str, Any]] = [
        {"method": method, "request": request} for method, request in CALLS.values()
    ]
    calls[list(CALLS).index("long text")]["cancelAfter"] = 1
    return dict(zip(CALLS, call(address, *calls), strict=True))


def test_scores_are_those_worked_out_by_hand(outcomes: dict[str, Outcome]) -> None:
    (answer,), end = outcomes["scores"]

    assert end["status"] == "OK"
    (score,) = answer["scores"]
    assert score["log_prob"] == pytest.approx(math.log(0.6 * 0.5 * 0.5), abs=1e-5)
    assert score["tokens"]["tokens"] == ["a", "b", "</s>"]
    assert score["token_count"] == 3
    assert answer["model"]["version"] == "1"


def test_ranking_follows_the_model(outcomes: dict[str, Outcome]) -> None:
    (answer,), _ = outcomes["ranking"]

    assert [ranking["order"][0] for ranking in answer["lists"][0]["rankings"]] == [1, 0]


def test_errors_have_their_details(outcomes: dict[str, Outcome]) -> None:
    messages, end = outcomes["no model"]
    details = {each["type"]: each for each in end["details"]}

    assert (messages, end["status"]) == ([], "INVALID_ARGUMENT")
    assert details["ErrorInfo"]["reason"] == "INVALID_FIELD"
    assert details["BadRequest"]["field_violations"][0]["field"] == "model.name"


def test_generated_tokens_are_streamed(outcomes: dict[str, Outcome]) -> None:
    messages, end = outcomes["text"]
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


def test_a_generation_of_the_server_can_be_cancelled(outcomes: dict[str, Outcome]) -> None:
    messages, end = outcomes["long text"]

    assert (len(messages), end["status"]) == (1, "CANCELLED")
    assert "finished" not in messages[0]


def test_errors_of_a_stream_have_their_details(outcomes: dict[str, Outcome]) -> None:
    messages, end = outcomes["no strategy"]

    assert (messages, end["status"]) == ([], "INVALID_ARGUMENT")
    violations = [each for each in end["details"] if each["type"] == "BadRequest"]
    assert violations[0]["field_violations"][0]["field"] == "sampling.top_p"


def test_cancelling_reaches_the_server(fake: FakeServer) -> None:
    fake.behaviour.generate_messages = 3
    request = {"model": {"name": "fake"}, "prompt": "the"}
    cancelled = {"method": "Generate", "request": request, "cancelAfter": 2}
    ((messages, end),) = call(fake.address, cancelled)

    assert (len(messages), end["status"]) == (2, "CANCELLED")
    assert fake.behaviour.end_of_stream() == "cancelled"


def test_every_kind_of_event_is_read(fake: FakeServer) -> None:
    beam = {"beam": {"width": 1, "num_results": 1}}
    request = {"model": {"name": "fake"}, "prompt": "the", "seed": str(2**64 - 1), **beam}
    ((messages, end),) = call(fake.address, {"method": "Generate", "request": request})

    assert end["status"] == "OK"
    assert messages[0]["started"]["seed"] == str(2**64 - 1)
    assert [each["token"] for message in messages for each in message.get("tokens", ())] == [
        "a",
        "aa",
        "aaa",
    ]
    (finished,) = messages[-1]["finished"]
    assert (finished["reason"], finished["score"]) == ("FINISH_REASON_LENGTH", -3.0)


def service_config() -> str:
    (documented,) = blocks(CLIENTS / "service-config.md", "json")
    return documented.code


FAKE_SCORE = {"method": "Score", "request": {"model": {"name": "fake"}, "texts": ["a"]}}


def test_calls_are_made_again_by_the_service_config(fake: FakeServer) -> None:
    unavailable, internal = Failure(StatusCode.UNAVAILABLE), Failure(StatusCode.INTERNAL)
    fake.behaviour.failures.extend([unavailable, unavailable, internal])
    first, last = call(fake.address, FAKE_SCORE, FAKE_SCORE, serviceConfig=service_config())

    assert first[1]["status"] == "INTERNAL"  # after two that were made again, one that was not
    assert (len(last[0][0]["scores"]), last[1]["status"]) == (1, "OK")
    assert fake.behaviour.calls["Score"] == 4


def test_servers_take_turns_by_the_service_config(fake: FakeServer) -> None:
    other = start(Behaviour())
    try:
        address = f"ipv4:{fake.address},{other.address}"
        many = {**FAKE_SCORE, "peers": 2}
        ((_, end),) = call(address, many, serviceConfig=service_config())
    finally:
        other.grpc_server.stop(grace=None).wait()

    assert end["status"] == "OK"
    # The first calls go to the one that was connected first.
    assert all(server.behaviour.calls["Score"] for server in (fake, other))


def test_the_documented_program_does_what_it_says(address: str, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    script = tmp_path / "documented.mjs"
    code = "\n".join(block.code for block in blocks(CLIENTS / "node.md", "js"))
    script.write_text(code.replace("127.0.0.1:50051", address))
    first, second, *rest = node(script, cwd=ROOT)

    log_prob, perplexity = json.loads(first.removeprefix("score "))
    assert log_prob == pytest.approx(math.log(0.15), abs=1e-5)
    assert perplexity == pytest.approx(0.15 ** (-1 / 3), rel=1e-5)
    assert second.startswith("score [")
    assert rest == [
        "best a b",
        "text a b",
        "cancelled",
        "error INVALID_ARGUMENT INVALID_FIELD",
        "field model.name",
    ]
