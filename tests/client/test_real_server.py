"""Client and server together, in two processes."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmscore.client import (
    AsyncClient,
    Client,
    Hypothesis,
    InvalidArgumentError,
    ItemError,
    ModelNotFoundError,
    NBestList,
    RescoredList,
    RescoreWeights,
)
from lmscore.client.cli.app import run
from tests.server.harness import ServerProcess, server_command


@pytest.fixture(scope="module")
def address(tiny_arpa: Path) -> Iterator[str]:
    arguments = ["--listen", "127.0.0.1:0", "--log-format", "json", "--model", f"tiny={tiny_arpa}"]
    arguments += [
        "--request-log-rate",
        "0",
    ]  # nobody reads the log, which would be full at some time
    command = server_command(*arguments, "--max-text-bytes", "100")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        yield str(ServerProcess(process, "", []).wait_for("ready")["address"])
        process.kill()


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, model="tiny") as connected:
        yield connected


def test_scores_are_those_worked_out_by_hand(client: Client) -> None:
    (score,) = client.score(["a b"], tokens=True)

    assert score.log_prob == pytest.approx(math.log(0.6 * 0.5 * 0.5), abs=1e-5)
    assert [token.matched_order for token in score.tokens] == [2, 2, 2]
    assert [token.text for token in score.tokens] == ["a", "b", "</s>"]


def test_a_stream_gives_what_single_requests_give(client: Client) -> None:
    texts = ["a b", "", "b a x", "a" * 101] * 50

    streamed = [o for answer in client.score_stream(texts, batch_texts=7) for o in answer.outcomes]
    single = [client.score([text]).outcomes[0] for text in texts[:3]]
    assert streamed[:3] == single
    assert streamed[196:199] == single
    assert len(streamed) == 200


def test_ranking_follows_the_model(client: Client) -> None:
    nbest = NBestList("x", [Hypothesis("b a", {"score": 0.0}), Hypothesis("a b", {"score": -0.1})])

    (ranked,) = client.rescore([nbest], [RescoreWeights(), RescoreWeights(lm_weight=0)])
    assert [ranking.best for ranking in ranked.rankings] == [1, 0]


def test_errors_have_their_reason_and_field(client: Client) -> None:
    with pytest.raises(InvalidArgumentError) as invalid:
        client.score(["a"], model="")
    assert (invalid.value.reason, invalid.value.field) == ("INVALID_FIELD", "model.name")

    with pytest.raises(ModelNotFoundError) as missing:
        client.score(["a"], model="other")
    assert missing.value.reason == "MODEL_NOT_FOUND"

    error = client.score(["a", "a" * 101]).errors[1]
    assert (error.reason, error.field) == ("TEXT_TOO_LONG", "texts[1]")


def test_models_and_tokens_are_described(client: Client) -> None:
    client.wait_until_ready()
    model = client.get_model()

    assert (model.kind, model.state, model.tokenizer) == ("ngram", "ready", "words")
    assert model.ngram is not None
    assert model.ngram.counts == (5, 3)
    ((first, second),) = client.tokenize(["a  zebra"])
    assert (first.oov, second.oov, second.begin_byte, second.end_byte) == (False, True, 3, 8)


def test_predictions_and_alternatives_are_those_worked_out_by_hand(client: Client) -> None:
    after_a, empty = client.predict(["a", ""], top_k=2)
    (score,) = client.score(["a a"], alternatives=2)

    assert [token.text for token in after_a.next] == ["b", "a"]
    assert after_a.next[0].log_prob == pytest.approx(math.log(0.5), abs=1e-5)
    assert empty.next[0].text == "a"
    second = score.tokens[1]
    assert (second.text, second.rank) == ("a", 2)
    assert second.alternatives == after_a.next
    assert second.entropy == pytest.approx(after_a.entropy)


async def test_the_client_for_asyncio_predicts_the_same(client: Client, address: str) -> None:
    async with AsyncClient(address, model="tiny") as connected:
        predicted = await connected.predict(["a b", "b"], top_k=3, bos=False)

    assert predicted.outcomes == client.predict(["a b", "b"], top_k=3, bos=False).outcomes


def test_the_command_shows_what_may_follow(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", "--address", address, "--top-k", "2", "a"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert run(["predict", "--address", address, "--json", "--top-k", "2", "a", ""]) == 0
    as_json = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert shown[0] == "a"
    assert shown[2].split()[:2] == ["b", "0.5000"]
    assert [line["prompt"] for line in as_json] == ["a", ""]
    assert [token["text"] for token in as_json[0]["next"]] == ["b", "a"]


def test_the_command_shows_what_was_likelier(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("a a\n")
    assert run(["score", "--address", address, "--alternatives", "2", str(texts)]) == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][5:7] == ["rank", "entropy"]
    assert rows[3][3] == "2"
    assert rows[3][-2:] == ["b", "a"]


def test_a_corpus_is_measured_as_by_hand(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("a b\na ü\n")
    assert run(["eval", "--address", address, "--json", str(texts)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert run(["eval", "--address", address, str(texts)]) == 0
    shown = capsys.readouterr().out

    known = [0.6, 0.5, 0.5, 0.6, 0.2]
    log_prob = sum(map(math.log, [*known, 5 / 7 * 0.1]))
    assert (figures["texts"], figures["events"], figures["oov_events"]) == (2, 6, 1)
    assert figures["characters"] == 8
    assert figures["log_prob"] == pytest.approx(log_prob, abs=1e-5)
    assert figures["cross_entropy_bits"] == pytest.approx(-log_prob / 6 / math.log(2), abs=1e-5)
    assert figures["bits_per_character"] == pytest.approx(-log_prob / 8 / math.log(2), abs=1e-5)
    known_log_prob = sum(map(math.log, known))
    assert figures["perplexity_excluding_oov"] == pytest.approx(math.exp(-known_log_prob / 5))
    assert figures["perplexity_without_ends"] == pytest.approx(math.exp(-known_log_prob / 3))
    assert f"perplexity                {figures['perplexity']:.6g}\n" in shown


def test_a_list_over_the_servers_limit_fails_alone(client: Client) -> None:
    sizes = {"small": 1, "large": 20_001, "last": 2}
    lists = [NBestList(name, [Hypothesis("a")] * size) for name, size in sizes.items()]

    outcomes = [each for answer in client.rescore_stream(lists) for each in answer.outcomes]
    small, large, last = outcomes
    assert isinstance(large, ItemError)
    assert large.problem == "hypotheses: 20001 are too many; the limit is 20000"
    assert [each.id for each in (small, last) if isinstance(each, RescoredList)] == [
        "small",
        "last",
    ]
