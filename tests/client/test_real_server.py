"""Client and server together, in two processes."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmscore.client import (
    Client,
    Hypothesis,
    InvalidArgumentError,
    ModelNotFoundError,
    NBestList,
    RescoreWeights,
)
from tests.server.harness import ServerProcess, server_command


@pytest.fixture(scope="module")
def address(tiny_arpa: Path) -> Iterator[str]:
    arguments = ["--listen", "127.0.0.1:0", "--log-format", "json", "--model", f"tiny={tiny_arpa}"]
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
