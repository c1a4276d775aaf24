"""The client and the command with a model of characters, which says that it is a network."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmscore.client import Client, Hypothesis, NBestList, NetworkInfo, RescoreWeights
from lmscore.client.cli.app import run
from lmscore.client.results import NO_TOKEN_ID
from lmscore.server.repository import ServedModel
from tests.server.bigrams import AFTER, CHARACTERS, characters
from tests.server.harness import running_on_a_thread, settings_for

UNKNOWN = -100 * math.log(10)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    served = ServedModel("tiny", 1, "ab" * 32, characters())
    with running_on_a_thread(settings_for(Path("none")), served) as listening:
        yield listening


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, model="tiny") as connected:
        yield connected


@pytest.fixture
def texts(tmp_path: Path) -> str:
    path = tmp_path / "texts.txt"
    path.write_text("ab a\n")
    return str(path)


def log_prob(line: str) -> float:
    tokens = [*line, "</s>"]
    pairs = zip(["</s>", *tokens], tokens, strict=False)
    return sum(math.log(AFTER[last][CHARACTERS.index(token)]) for last, token in pairs)


def test_words_have_the_sums_of_their_characters(client: Client) -> None:
    (scored,) = client.score(["ab a"], words=True)
    (plain,) = client.score(["ab a"])

    assert [(w.text, w.begin_byte, w.end_byte, w.token_count) for w in scored.words] == [
        ("ab", 0, 2, 2),
        ("a", 3, 4, 2),
        ("</s>", 4, 4, 1),
    ]
    assert scored.words[0].surprisal == pytest.approx(math.log(8))
    assert sum(word.log_prob for word in scored.words) == pytest.approx(log_prob("ab a"))
    assert (scored.tokens, plain.words) == ((), ())


def test_an_unknown_character_has_no_id(client: Client) -> None:
    (scored,) = client.score(["ß"], tokens=True, words=True, eos=False)
    (tokens,) = client.tokenize(["ß"])

    assert scored.tokens[0].id == tokens[0].id == NO_TOKEN_ID
    assert scored.tokens[0].matched_order is None
    assert scored.words[0].oov
    assert scored.words[0].log_prob == pytest.approx(UNKNOWN)


def test_a_stream_tells_of_words_too(client: Client) -> None:
    [answer] = client.score_stream(["ab a", ""], words=True)

    assert [len(score.words) for score in answer] == [3, 1]


def test_a_network_is_described(client: Client) -> None:
    model = client.get_model()

    assert (model.kind, model.tokenizer, model.ngram) == ("lstm", "characters", None)
    assert model.network == NetworkInfo(8, (650, 650), 32, True, None, "cpu", "float32")
    assert model.scoring_contract.unknown_token == ""


def test_hypotheses_are_ranked(client: Client) -> None:
    nbest = NBestList("x", [Hypothesis("b"), Hypothesis("a b")])
    (ranked,) = client.rescore([nbest], [RescoreWeights(), RescoreWeights(length_bonus=20)])

    assert ranked.log_probs == pytest.approx([log_prob("b"), log_prob("a b")])
    assert [ranking.best for ranking in ranked.rankings] == [0, 1]


def test_the_command_lists_a_network(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--address", address]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert run(["models", "--address", address, "--json"]) == 0
    [described] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert " ".join(row).startswith("tiny 1 ready lstm 650+650 5 characters 30 ")
    assert " ".join(row).endswith(" abababababab cpu float32")
    assert described["network"]["hidden_sizes"] == [650, 650]
    assert described["network"]["device"] == "cpu"
    assert "ngram" not in described


def test_the_command_shows_words(
    address: str, texts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["score", "--address", address, "--words", texts]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert run(["score", "--address", address, "--words", "--json", texts]) == 0
    record = json.loads(capsys.readouterr().out)

    assert rows[1] == ["word", "surprisal", "(nats)", "tokens", "OOV"]
    assert rows[2] == ["ab", f"{math.log(8):.4f}", "2"]
    assert rows[4][0] == "</s>"
    assert rows[5][0] == "log-prob"
    assert [word["text"] for word in record["words"]] == ["ab", "a", "</s>"]
    assert "tokens" not in record


def test_the_command_shows_characters_and_makes_blanks_visible(
    address: str, texts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["score", "--address", address, "--tokens", "--words", texts]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert run(["score", "--address", address, "--alternatives", "2", texts]) == 0
    detailed = capsys.readouterr().out.splitlines()
    assert run(["tokenize", "--address", address, texts]) == 0
    split = capsys.readouterr().out
    assert run(["predict", "--address", address, "--top-k", "3", ""]) == 0
    predicted = capsys.readouterr().out.splitlines()

    assert shown[1].split() == ["token", "surprisal", "(nats)", "OOV"]  # and no n-grams
    assert [line.split()[0] for line in shown[2:7]] == ["a", "b", "'", "a", "</s>"]
    assert shown[4].startswith("' '")
    assert shown[8].split()[0] == "word"
    assert detailed[2].split()[-2:] == ["a", "b"]
    assert split == "a b ' ' a\n"
    assert predicted[4].startswith("' '")


def test_the_command_measures_a_corpus(
    address: str, texts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", "--address", address, "--json", texts]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert run(["eval", "--address", address, texts]) == 0
    shown = capsys.readouterr().out

    assert (figures["events"], figures["characters"], figures["oov_events"]) == (5, 5, 0)
    assert figures["log_prob"] == pytest.approx(log_prob("ab a"))
    assert figures["bits_per_character"] == pytest.approx(-log_prob("ab a") / 5 / math.log(2))
    assert figures["cross_entropy_bits"] == pytest.approx(figures["bits_per_character"])
    assert "5, 0 of them unknown\n" in shown
