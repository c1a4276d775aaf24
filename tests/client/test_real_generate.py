"""Generate, with client and server in two processes."""

from __future__ import annotations

import math
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lmscore.client import (
    AsyncClient,
    Beam,
    Client,
    GeneratedToken,
    GenerationStarted,
    InvalidArgumentError,
    Sampling,
)
from lmscore.client.cli.app import run
from tests.client.commands import records
from tests.server.harness import ServerProcess, server_command

DEMO = Path(__file__).parents[2] / "checkpoints" / "demo" / "trigram.arpa.gz"


@pytest.fixture(scope="module")
def server(tiny_arpa: Path) -> Iterator[ServerProcess]:
    arguments = ["--listen", "127.0.0.1:0", "--log-format", "json"]
    arguments += [
        "--request-log-rate",
        "0",
    ]  # nobody reads the log, which would be full at some time
    command = server_command(*arguments, "--model", f"tiny={tiny_arpa}", "--model", f"demo={DEMO}")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        running = ServerProcess(process, "", [])
        running.address = str(running.wait_for("ready")["address"])
        yield running
        process.kill()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, model="demo") as connected:
        yield connected


def test_greedy_text_is_that_worked_out_by_hand(client: Client) -> None:
    (text,) = client.generate_texts("", model="tiny", alternatives=2)

    assert (text.text, text.reason, len(text.token_ids)) == ("a b", "end_of_text", 3)
    assert text.log_probs == pytest.approx([math.log(0.6), math.log(0.5), math.log(0.5)], abs=1e-5)
    assert text.log_prob == pytest.approx(math.log(0.15), abs=1e-5)


def test_a_text_has_the_log_probability_that_scoring_gives(client: Client) -> None:
    texts = client.generate_texts("the", strategy=Sampling(), num_sequences=8, seed=3)
    ended = [text for text in texts if text.reason == "end_of_text"]
    scores = client.score([text.text for text in ended], context="the", tokens=True)

    assert len(ended) > 2
    for text, score in zip(ended, scores, strict=True):
        assert text.log_prob == pytest.approx(score.log_prob)
        assert text.token_ids == tuple(token.id for token in score.tokens)


def test_beams_are_ranked_by_their_score(client: Client) -> None:
    beam = Beam(8, length_penalty=0.5, num_results=4)
    texts = client.generate_texts("the", strategy=beam, max_tokens=12)

    scores = [text.log_prob / len(text.token_ids) ** 0.5 for text in texts]
    assert scores == sorted(scores, reverse=True)
    assert [text.score for text in texts] == pytest.approx(scores)
    assert len({text.text for text in texts}) == 4


def test_a_stop_string_is_no_part_of_the_text(client: Client) -> None:
    (whole,) = client.generate_texts("in the", strategy=Sampling(), seed=3)
    (cut,) = client.generate_texts("in the", strategy=Sampling(), seed=3, stop=["the"])

    assert cut.reason == "stop"
    assert cut.text == whole.text.partition("the")[0]


def test_alternatives_are_what_predict_tells(client: Client) -> None:
    started, first, *_ = client.generate("in the", alternatives=5, max_tokens=1)
    (prediction,) = client.predict(["in the"], top_k=5)

    assert isinstance(started, GenerationStarted)
    assert started.prompt_token_count == 2
    assert isinstance(first, GeneratedToken)
    assert first.alternatives == prediction.next


async def test_the_client_for_asyncio_tells_the_same(client: Client) -> None:
    async with AsyncClient(client.address, model="demo") as connected:
        texts = await connected.generate_texts("in", strategy=Sampling(), seed=1, num_sequences=4)

    assert texts == client.generate_texts("in", strategy=Sampling(), seed=1, num_sequences=4)


@pytest.mark.parametrize(
    ("strategy", "field"),
    [
        (Sampling(temperature=0), "sampling.temperature"),
        (Sampling(top_p=2), "sampling.top_p"),
        (Beam(0), "beam.width"),
        (Beam(1, num_results=2), "beam.num_results"),
    ],
)
def test_errors_name_their_field(client: Client, strategy: Sampling | Beam, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        client.generate_texts("", strategy=strategy)
    assert (raised.value.reason, raised.value.field) == ("INVALID_FIELD", field)


def test_the_same_seed_writes_the_same_text(
    server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", "the ", "--model", "demo", "--temperature", "0.8"]
    written = []
    for seed in ("7", "7", "8"):
        assert run([*command, "--address", server.address, "--seed", seed]) == 0
        written.append(capsys.readouterr())
    assert written[0] == written[1]
    assert written[0].out != written[2].out
    assert written[0].out.startswith("the ")
    assert written[0].err.startswith("demo version 1, seed 7\n")


def test_a_drawn_seed_gives_the_text_again(
    server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", "in the", "--model", "demo", "--json", "--address", server.address]
    assert run([*command, "--temperature", "1"]) == 0
    first = records(capsys.readouterr().out)
    assert run([*command, "--seed", str(first[0]["seed"])]) == 0

    assert records(capsys.readouterr().out) == first


def test_closing_leaves_nothing_running(tiny_arpa: Path) -> None:
    arguments = ["--listen", "127.0.0.1:0", "--log-format", "json", "--model", f"tiny={tiny_arpa}"]
    with subprocess.Popen(server_command(*arguments), stderr=subprocess.PIPE, text=True) as process:
        server = ServerProcess(process, "", [])
        address = str(server.wait_for("ready")["address"])
        with Client(address, model="tiny") as client:
            for _ in range(20):
                with closing(client.generate("", min_tokens=4096, max_tokens=4096)) as events:
                    next(events)
            process.send_signal(signal.SIGTERM)
            server.wait_for("stopped")
    assert not any("drain timeout" in event["event"] for event in server.events)
