from __future__ import annotations

import gzip
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grpc import StatusCode
from rich.table import Table
from rich.text import Text

from lmscore.client.cli.output import columns, json_line, table_text
from tests.client.commands import (
    COMMAND,
    Lmscore,
    environment,
    interruptible,
    notes_on_a_terminal,
    notes_to_a_pipe,
    records,
)
from tests.client.fake_server import LONG_SECONDS, Failure, FakeServer

NBEST = (
    '{"id": "u1", "ref": "a b", "hyps": [["abc b", -1.0], ["a b", -1.1], ["x", -1.5]]}\n'
    '{"id": "u2", "ref": "c d", "hyps": [["c d", -0.5]]}\n'
)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts"
    path.write_text("ab 12\n\nimpossible\ttab\n")
    return path


@pytest.fixture
def nbest(tmp_path: Path) -> Path:
    path = tmp_path / "nbest.jsonl"
    path.write_text(NBEST)
    return path


# --- score ---


def test_score_writes_a_line_a_text(lmscore: Lmscore, texts: Path) -> None:
    exit_code, out, err = lmscore("score", texts)

    assert exit_code == 0
    assert out.splitlines() == [
        f"-7.000000\t{math.exp(7 / 3):.4f}\t3\t1\tab 12",
        f"-1.000000\t{math.e:.4f}\t1\t0\t",
        "-inf\tinf\t3\t0\timpossible\ttab",
    ]
    assert err == (
        "3 texts, 7 tokens, 1 OOV; log-prob -inf nats; "
        "perplexity inf with OOV, inf without (fake version 1)\n"
    )


def test_the_summary_is_the_corpus(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("ab 12\nabcd\n")

    _, _, err = lmscore("score", tmp_path / "texts")
    assert f"log-prob -10.0000 nats; perplexity {math.exp(2):.4f} with OOV" in err
    assert f"{math.exp(5 / 4):.4f} without" in err


def test_score_of_a_long_gzipped_file_keeps_order(lmscore: Lmscore, tmp_path: Path) -> None:
    lines = [f"a{i} " + "b" * (i % 7) for i in range(5000)]
    path = tmp_path / "texts.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))

    exit_code, out, err = lmscore("score", path)
    assert exit_code == 0
    assert [line.split("\t", 4)[4] for line in out.splitlines()] == lines
    assert err.startswith("5000 texts, ")


def test_score_as_json(lmscore: Lmscore, texts: Path) -> None:
    exit_code, out, _ = lmscore("score", "--json", texts)
    first, _, impossible = records(out)

    assert exit_code == 0
    assert first == {
        "text": "ab 12",
        "log_prob": -7.0,
        "log_prob_excluding_oov": -2.0,
        "perplexity": pytest.approx(math.exp(7 / 3)),
        "perplexity_excluding_oov": pytest.approx(math.e),
        "token_count": 3,
        "oov_count": 1,
        "model": "fake",
        "version": 1,
    }
    assert (impossible["log_prob"], impossible["perplexity"]) == ("-Infinity", "Infinity")
    assert float(impossible["log_prob"]) == -math.inf


def test_tokens_as_json(lmscore: Lmscore, texts: Path) -> None:
    _, out, _ = lmscore("score", "--json", "--tokens", texts)

    assert records(out)[0]["tokens"][1] == {
        "text": "12",
        "id": 99,
        "log_prob": -5.0,
        "oov": True,
        "begin_byte": 3,
        "end_byte": 5,
        "matched_order": 1,
    }


def test_tokens_are_a_table(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("[red]ab 12\n")

    exit_code, out, _ = lmscore("score", "--tokens", tmp_path / "texts")
    assert exit_code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["[red]ab", "12"]
    assert rows[1] == ["token", "surprisal", "(nats)", "n-gram", "OOV"]
    assert rows[2] == ["[red]ab", "3.5000", "1"]
    assert rows[3] == ["12", "5.0000", "1", "OOV"]
    assert rows[4] == ["</s>", "1.0000", "1"]
    assert out.splitlines()[5] == f"log-prob -9.5000 nats, perplexity {math.exp(9.5 / 3):.4f}"


def test_columns_are_those_of_a_rich_table() -> None:
    headings = ("token", "surprisal (nats)", "likeliest here")
    rows = [
        ("[red]ab", "3.5000", "a b"),
        ("日本", "12.0000", ""),
        ("e\u0301", "", "longer than it"),
    ]
    table = Table(headings[0], box=None, pad_edge=False)
    table.add_column(headings[1], justify="right")
    table.add_column(headings[2])
    for row in rows:
        table.add_row(*map(Text, row))

    assert columns(headings, rows, left={0, 2}) == table_text(table)


def test_context_and_sentence_marks_reach_the_server(
    server: FakeServer, lmscore: Lmscore, texts: Path
) -> None:
    lmscore("score", texts, "--context", "before", "--no-bos", "--no-eos")
    (request,) = server.behaviour.stream_requests

    assert (request.context, request.bos, request.eos) == ("before", False, False)


@pytest.mark.parametrize("form", [(), ("--json",), ("--tokens",)])
def test_a_refused_text_is_told_and_the_others_are_scored(
    lmscore: Lmscore, tmp_path: Path, form: tuple[str, ...]
) -> None:
    (tmp_path / "texts").write_text("ab\nrefused\nabcd\n")

    exit_code, out, err = lmscore("score", tmp_path / "texts", *form)
    assert exit_code == 1
    assert err.splitlines()[0] == "lmscore: line 2: it has the word refused"
    assert err.splitlines()[-1] == "lmscore: 1 of 3 texts could not be scored"
    if not form:
        assert out.splitlines()[1] == "-\t-\t-\t-\trefused"
    if form == ("--json",):
        assert records(out)[1]["error"]["code"] == "INVALID_ARGUMENT"
        assert records(out)[1]["error"]["reason"] == "REFUSED"
        assert records(out)[2]["log_prob"] == -3.0


def test_bytes_that_are_not_utf8_are_one_line(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes(b"good\n\xff\n")

    exit_code, _, err = lmscore("score", tmp_path / "texts")
    assert exit_code == 1
    place = "byte 0xff at offset 5 of the text, 0 of the line"
    assert err == f"lmscore: {tmp_path}/texts:2: not UTF-8: {place}\n"


# --- rescore ---


def test_rescore_writes_winners_and_word_error_rates(lmscore: Lmscore, nbest: Path) -> None:
    exit_code, out, err = lmscore("rescore", nbest)

    assert exit_code == 0
    assert out == "u1\tx\nu2\tc d\n"  # -1.5 - 1.5 > -1.1 - 2
    *table, note = err.splitlines()
    assert [line.split() for line in table[1:]] == [
        ["as", "given", "25.00%", "1", "4"],
        ["re-ranked", "50.00%", "2", "4"],
        ["oracle", "0.00%", "0", "4"],
    ]
    assert note.endswith("the lists were better as given; `lmscore tune` looks for weights")


def test_only_weights_that_make_it_worse_are_noted(lmscore: Lmscore, nbest: Path) -> None:
    assert "better as given" not in lmscore("rescore", nbest, "--lm-weight", "0")[2]


@pytest.mark.parametrize(
    ("weights", "winner"),
    [
        (["--lm-weight", "0"], "abc b"),
        (["--lm-weight", "0.3"], "a b"),
        (["--lm-weight", "1", "--length-bonus", "2"], "a b"),
        (["--feature-weight", "score=0"], "x"),
        (["--feature-weight", "score=20"], "abc b"),
    ],
)
def test_weights_choose_the_winner(
    lmscore: Lmscore, nbest: Path, weights: list[str], winner: str
) -> None:
    _, out, _ = lmscore("rescore", nbest, *weights)

    assert out.splitlines()[0] == f"u1\t{winner}"


def test_without_reference_words_there_is_no_rate(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "nbest").write_text('{"id": "a", "ref": "", "hyps": [["x", 1]]}\n')

    _, _, err = lmscore("rescore", tmp_path / "nbest")
    assert err.splitlines()[1].split() == ["as", "given", "-", "1", "0"]


def test_what_json_has_no_number_for_is_spelled_out() -> None:
    record = {"values": [math.nan, math.inf, -math.inf, 1.0]}

    assert json.loads(json_line(record)) == {"values": ["NaN", "Infinity", "-Infinity", 1.0]}


def test_lists_without_references_give_no_rates(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "nbest.tsv").write_text("a\t-1\tx 1\na\t-1.5\tx y\n")

    assert lmscore("rescore", tmp_path / "nbest.tsv", "--oov-penalty", "9") == (0, "a\tx y\n", "")


def test_rescore_as_json(lmscore: Lmscore, nbest: Path) -> None:
    _, out, _ = lmscore("rescore", "--json", nbest, "--lm-weight", "0.5")
    first, _ = records(out)

    assert (first["id"], first["text"], first["order"][0]) == ("u1", "a b", 1)
    assert first["totals"] == pytest.approx([-2.5, -2.1, -2.25])
    assert first["log_probs"] == [-3.0, -2.0, -1.5]
    assert (first["token_counts"], first["oov_counts"]) == ([3, 3, 2], [0, 0, 0])
    assert (first["model"], first["version"]) == ("fake", 1)


def test_rescore_writes_to_a_file(lmscore: Lmscore, nbest: Path, tmp_path: Path) -> None:
    exit_code, out, _ = lmscore("rescore", nbest, "--output", tmp_path / "best.txt")

    assert (exit_code, out) == (0, "")
    assert (tmp_path / "best.txt").read_text() == "u1\tx\nu2\tc d\n"


def test_rescore_does_not_write_over_its_input(lmscore: Lmscore, nbest: Path) -> None:
    exit_code, _, err = lmscore("rescore", nbest, "-o", nbest)

    assert exit_code == 2
    assert "is the n-best file itself" in err
    assert nbest.read_text() == NBEST


@pytest.mark.parametrize(
    ("content", "model"), [(NBEST, "nope"), ("what is this\n", "fake"), ("", "fake")]
)
def test_a_failure_before_the_first_answer_leaves_the_output_as_it_was(
    lmscore: Lmscore, tmp_path: Path, content: str, model: str
) -> None:
    (tmp_path / "nbest").write_text(content)
    (tmp_path / "keep").write_text("kept\n")

    for name in ("keep", "new"):
        assert lmscore("rescore", tmp_path / "nbest", "-o", tmp_path / name, "--model", model)[0]
    assert (tmp_path / "keep").read_text() == "kept\n"
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_not_there_is_one_line(
    lmscore: Lmscore, nbest: Path, tmp_path: Path
) -> None:
    exit_code, _, err = lmscore("rescore", nbest, "-o", tmp_path / "no" / "best.txt")

    assert exit_code == 2
    assert err == f"lmscore: there is no folder {tmp_path}/no (see lmscore rescore --help)\n"


def test_a_refused_list_is_named_and_the_others_are_ranked(
    lmscore: Lmscore, tmp_path: Path
) -> None:
    (tmp_path / "nbest").write_text("a\t-1\tx\nb\t-1\trefused\nc\t-1\ty\n")

    exit_code, out, err = lmscore("rescore", tmp_path / "nbest")
    assert (exit_code, out) == (1, "a\tx\nc\ty\n")
    assert err.splitlines() == [
        "lmscore: list b: refused",
        "lmscore: 1 of 3 lists could not be ranked",
    ]


def test_line_ends_within_a_hypothesis_do_not_break_lines(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "nbest").write_text('{"id": "a\\tb", "hyps": [["x\\ny", 1]]}\n')

    assert lmscore("rescore", tmp_path / "nbest")[1] == "a b\tx y\n"


@pytest.mark.parametrize(
    ("content", "exit_code", "problem"),
    [
        ("what is this\n", 2, "not a known n-best format"),
        ('{"id": "a", "hyps": [["x", NaN]]}\n', 1, "nbest:1: NaN is not a finite number"),
        ("", 1, "no n-best lists"),
    ],
)
def test_a_bad_nbest_file_is_one_line(
    lmscore: Lmscore, tmp_path: Path, content: str, exit_code: int, problem: str
) -> None:
    (tmp_path / "nbest").write_text(content)

    ended, out, err = lmscore("rescore", tmp_path / "nbest")
    assert (ended, out) == (exit_code, "")
    assert problem in err
    assert len(err.splitlines()) == 1


# --- tokenize and models ---


def test_tokenize_writes_tokens(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("  ab  12\n\n")

    assert lmscore("tokenize", tmp_path / "texts") == (0, "ab 12\n\n", "")
    assert records(lmscore("tokenize", "--json", tmp_path / "texts")[1])[0]["tokens"] == [
        {"text": "ab", "id": 195, "begin_byte": 2, "end_byte": 4, "oov": False},
        {"text": "12", "id": 99, "begin_byte": 6, "end_byte": 8, "oov": True},
    ]


def test_a_text_that_cannot_be_split_is_told(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("refused\nok\n")

    exit_code, out, err = lmscore("tokenize", tmp_path / "texts")
    assert (exit_code, out) == (1, "-\nok\n")
    assert "lmscore: line 1: it has the word refused" in err


def test_models_are_listed(server: FakeServer, lmscore: Lmscore) -> None:
    server.behaviour.models.append("later")
    server.behaviour.loading.add("later")

    exit_code, out, _ = lmscore("models")
    assert exit_code == 0
    rows = [line.split() for line in out.splitlines()]
    assert " ".join(rows[1]) == "fake 1 ready ngram 2 1,000 words 2,500 20.0 kB abababababab"
    assert rows[2] == ["later", "1", "loading"]

    described = records(lmscore("models", "--json")[1])
    assert [each["identity"]["name"] for each in described] == ["fake", "later"]
    assert described[0]["ngram"] == {"order": 2, "counts": [1000, 500]}


# --- every subcommand ---


@pytest.mark.parametrize(
    ("subcommand", "method"), [("rescore", "Rescore"), ("tokenize", "Tokenize")]
)
def test_batch_is_how_much_is_sent_at_a_time(
    server: FakeServer, lmscore: Lmscore, texts: Path, nbest: Path, subcommand: str, method: str
) -> None:
    source = nbest if subcommand == "rescore" else texts

    assert lmscore(subcommand, source, "--batch", "1")[0] == 0
    assert server.behaviour.calls[method] == {"rescore": 2, "tokenize": 3}[subcommand]


def test_there_is_no_perplexity_of_nothing(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "blank").write_text("\n")

    problem = f"lmscore: {tmp_path}/empty: there is no text to measure\n"
    assert lmscore("eval", tmp_path / "empty") == (1, "", problem)
    assert lmscore("score", tmp_path / "empty") == (0, "", "0 texts\n")
    out = lmscore("eval", tmp_path / "blank")[1]
    assert out.splitlines()[-1].split() == ["without", "ends", "of", "lines", "-"]


@pytest.mark.parametrize("subcommand", ["score", "eval"])
def test_batch_is_how_much_a_stream_sends_at_a_time(
    server: FakeServer, lmscore: Lmscore, texts: Path, subcommand: str
) -> None:
    assert lmscore(subcommand, texts, "--batch", "2")[0] == 0
    assert [len(request.texts) for request in server.behaviour.stream_requests] == [2, 1]


def test_the_only_model_need_not_be_named(
    server: FakeServer, lmscore: Lmscore, texts: Path
) -> None:
    server.behaviour.models[:] = ["only"]
    assert lmscore("score", texts)[0] == 0

    server.behaviour.models[:] = ["one", "two"]
    exit_code, _, err = lmscore("score", texts)
    assert exit_code == 2
    assert "choose one of the server's models with --model: one, two" in err

    server.behaviour.models[:] = []
    exit_code, _, err = lmscore("score", texts)
    assert (exit_code, err) == (1, f"lmscore: {server.address} has no models\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["rescore", "FILE", "--lm-weight", "nan"], "'nan' is not a finite number"),
        (["rescore", "FILE", "--lm-weight", "much"], "'much' is not a number"),
        (["rescore", "FILE", "--length-bonus", "inf"], "'inf' is not a finite number"),
        (["rescore", "FILE", "--feature-weight", "score"], "'score' is not NAME=WEIGHT"),
        (["rescore", "FILE", "--feature-weight", "score=nan"], "'nan' is not a finite number"),
        (["score", "FILE", "--timeout", "0"], "'0' is not above 0"),
        (["score", "FILE", "--context", "\udcff"], "'\\udcff' is not UTF-8"),
        (["score", "FILE", "--model", "\udcff"], "'\\udcff' is not UTF-8"),
        (["score", "FILE", "--address", "\udcff"], "'\\udcff' is not UTF-8"),
        (["score", "FILE", "--address", ""], "'' is not HOST:PORT"),
        (["score", "FILE", "--address", "localhost"], "'localhost' is not HOST:PORT"),
        (["score", "FILE", "--address", "http://a:1"], "leave out what stands before the host"),
        (
            ["rescore", "FILE", "--feature-weight", "a=1", "--feature-weight", "a=2"],
            "--feature-weight a is given more than once",
        ),
        (["score", "FILE", "--batch", "0"], "0 is not in the range x>=1"),
        (["score", "no such file"], "does not exist"),
        (["score"], "Missing argument"),
        (["score", "FILE", "--bogus"], "No such option"),
        (["bogus"], "No such command"),
        (["--bogus"], "No such option"),
        ([], "Missing command"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(
    lmscore: Lmscore, texts: Path, arguments: list[str], problem: str
) -> None:
    exit_code, out, err = lmscore(*[texts if each == "FILE" else each for each in arguments])

    assert (exit_code, out) == (2, "")
    assert problem in err
    assert len(err.splitlines()) == 1
    assert "--help" in err


@pytest.mark.parametrize("subcommand", ["score", "rescore", "tokenize"])
def test_failures_are_one_line_and_exit_1(
    lmscore: Lmscore, texts: Path, nbest: Path, subcommand: str
) -> None:
    source = nbest if subcommand == "rescore" else texts

    exit_code, out, err = lmscore(subcommand, source, "--model", "nothing")
    assert (exit_code, out) == (1, "")
    assert err == "lmscore: there is no model nothing\n"

    exit_code, out, err = lmscore(subcommand, source, "--address", "127.0.0.1:1")
    assert (exit_code, out) == (1, "")
    assert err.startswith("lmscore: 127.0.0.1:1: ")
    assert len(err.splitlines()) == 1


def test_an_error_of_the_server_is_one_line(server: FakeServer, lmscore: Lmscore) -> None:
    server.behaviour.failures.append(Failure(StatusCode.INTERNAL, "incident f00\nsee the log"))

    assert lmscore("models") == (1, "", "lmscore: incident f00 see the log\n")


@pytest.mark.parametrize(
    "subcommand", [[], ["score"], ["rescore"], ["generate"], ["tokenize"], ["models"]]
)
def test_help_has_examples(lmscore: Lmscore, subcommand: list[str]) -> None:
    exit_code, out, err = lmscore(*subcommand, "--help")

    assert (exit_code, err) == (0, "")
    if subcommand:  # each example on a line of its own
        assert f"  Examples:\n    lmscore {subcommand[0]}" in out
    else:
        assert "Commands:" in out


# --- as a process ---


def test_texts_come_from_standard_input(server: FakeServer) -> None:
    done = subprocess.run(
        [*COMMAND, "score", "-"],
        input="é ab\n".encode(),
        env={**environment(server), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().endswith("\té ab\n")


def test_arguments_are_utf8_whatever_the_locale_is(server: FakeServer) -> None:
    done = subprocess.run(
        [*COMMAND, "predict", "é b"],
        env={**environment(server), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().startswith("é b\n")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("score - <&-", "standard input: it is closed"),
        ("models >&-", "standard output is closed"),
        ("predict a >&-", "standard output is closed"),
    ],
)
def test_a_closed_stream_is_one_line(server: FakeServer, command: str, problem: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"$@" {command}', "bash", *COMMAND],
        env=environment(server),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, f"lmscore: {problem}\n")


def test_an_interrupt_of_the_imports_is_one_line() -> None:
    program = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'grpc': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from lmscore.client.cli.launcher import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "\nlmscore: interrupted\n")


def test_grpc_adds_nothing_to_our_line() -> None:
    done = subprocess.run(
        [*COMMAND, "models", "--address", "dns:///"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_has_had_enough_ends_it_quietly(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("a b c\n" * 20_000)
    with subprocess.Popen(
        [*COMMAND, "score", tmp_path / "texts"],
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_an_interrupt_is_one_line(server: FakeServer, tmp_path: Path) -> None:
    server.behaviour.stream_pause.clear()
    (tmp_path / "texts").write_text("a b c\n")
    with interruptible(server, "score", tmp_path / "texts") as process:
        give_up = time.monotonic() + LONG_SECONDS
        while not server.behaviour.stream_requests and time.monotonic() < give_up:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LONG_SECONDS)
    assert err.decode().split("\n") == ["", "lmscore: interrupted", ""]  # ends the line of "^C"
    assert process.returncode == 130


@pytest.mark.parametrize(("to_terminal", "shown"), [(True, True), (False, False)])
def test_a_bar_is_shown_only_on_a_terminal(
    server: FakeServer, tmp_path: Path, to_terminal: bool, shown: bool
) -> None:
    (tmp_path / "texts").write_text("a b c\n" * 5000)
    notes = notes_on_a_terminal if to_terminal else notes_to_a_pipe
    with (tmp_path / "out").open("wb") as out:
        written = notes(server, "score", "texts", out=out, cwd=tmp_path)
    assert (b"100%" in written) == shown
    assert len((tmp_path / "out").read_text().splitlines()) == 5000


def test_references_without_jiwer_say_what_to_install(server: FakeServer, nbest: Path) -> None:
    program = (
        "import sys; sys.modules['jiwer'] = None\n"
        "from lmscore.client.cli.launcher import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "rescore", nbest],
        env=environment(server),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "lmscore needs jiwer: pip install 'lmscore[cli]'\n"
    assert done.returncode == 1
