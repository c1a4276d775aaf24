from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from tests.client.commands import (
    COMMAND,
    Lmscore,
    environment,
    interruptible,
    notes_on_a_terminal,
    notes_to_a_pipe,
    records,
)
from tests.client.fake_server import Failure, FakeServer, word_id
from tests.client.patience import patiently


def test_the_text_stands_behind_its_prompt(lmscore: Lmscore) -> None:
    assert lmscore("generate", "the 1st") == (
        0,
        "the 1st a aa aaa\n",
        (
            "fake version 1; 1 of the prompt's 2 tokens OOV\n"
            "3 tokens, log-prob -3.0000 nats; ended by --max-tokens\n"
        ),
    )


def test_the_prompt_can_be_left_out(lmscore: Lmscore) -> None:
    assert lmscore("generate", "--no-echo", "the")[1] == " a aa aaa\n"


def test_several_texts_come_one_after_the_other(lmscore: Lmscore) -> None:
    exit_code, out, err = lmscore("generate", "the", "--num", "3")

    assert (exit_code, out) == (0, "the a aa aaa\nthe b bb bbb\nthe c cc ccc\n")
    assert err.splitlines()[0] == "fake version 1, seed 42"
    assert [line.partition(":")[0] for line in err.splitlines()[1:]] == [
        "text 1 of 3",
        "text 2 of 3",
        "text 3 of 3",
    ]


def test_tokens_are_a_table_after_their_text(lmscore: Lmscore) -> None:
    _, out, _ = lmscore("generate", "--tokens", "the", "--max-tokens", "2")

    assert out.splitlines() == [
        "the a aa",
        "token  surprisal (nats)",
        "a                0.5000",
        "aa               1.0000",
        "",
    ]


def test_alternatives_are_shown_in_the_table(lmscore: Lmscore) -> None:
    _, out, _ = lmscore("generate", "--alternatives", "2", "the", "--max-tokens", "1")

    assert out.splitlines()[1:3] == [
        "token  surprisal (nats)  likeliest here",
        "a                0.5000  x xx",
    ]


def test_json_is_a_line_for_each_event(lmscore: Lmscore) -> None:
    arguments = ["--json", "--seed", "7", "--max-tokens", "1", "--alternatives", "1", "the"]
    exit_code, out, err = lmscore("generate", *arguments)

    assert (exit_code, err) == (0, "")
    likely = {"text": "x", "id": word_id("x"), "log_prob": -0.5}
    assert records(out) == [
        {
            "event": "started",
            "prompt": "the",
            "model": "fake",
            "version": 1,
            "seed": 7,
            "prompt_token_count": 1,
            "prompt_oov_count": 0,
        },
        {
            "event": "token",
            "sequence": 0,
            "text": "",
            "token": "a",
            "token_id": word_id("a"),
            "log_prob": -0.5,
            "alternatives": [likely],
        },
        {
            "event": "finished",
            "sequence": 0,
            "text": " a",
            "reason": "length",
            "log_prob": -0.5,
            "token_count": 1,
        },
    ]


def test_beams_tell_their_score(lmscore: Lmscore) -> None:
    arguments = ["--beam", "3", "--num", "2", "--length-penalty", "1", "the"]
    _, out, err = lmscore("generate", *arguments)
    _, lines, _ = lmscore("generate", "--json", *arguments)

    assert out == "the a aa aaa\nthe b bb bbb\n"
    assert "text 2 of 2: 3 tokens, log-prob -3.0000 nats; score -1.0000" in err
    ends = [each for each in records(lines) if each["event"] == "finished"]
    assert [(end["sequence"], end["score"]) for end in ends] == [(0, -1.0), (1, -1.0)]


SAMPLING = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"greedy": {}}),
        (["--temperature", "0.5"], {"sampling": {**SAMPLING, "temperature": 0.5}}),
        (["--top-k", "3"], {"sampling": {**SAMPLING, "top_k": 3}}),
        (["--top-p", "0.5"], {"sampling": {**SAMPLING, "top_p": 0.5}}),
        (["--min-p", "0.5"], {"sampling": {**SAMPLING, "min_p": 0.5}}),
        (["--seed", "0"], {"sampling": SAMPLING, "seed": "0"}),
        (["--num", "2"], {"sampling": SAMPLING, "num_sequences": 2}),
        (["--max-tokens", "9", "--min-tokens", "2"], {"max_tokens": 9, "min_tokens": 2}),
        (["--stop", "a", "--stop", "\n"], {"stop_strings": ["a", "\n"]}),
        (["--repetition-penalty", "1.5"], {"repetition_penalty": 1.5}),
        (["--alternatives", "2"], {"alternatives": 2}),
        (["--no-bos"], {"bos": False}),
        (["--model", "fake"], {}),
        (
            ["--beam", "4", "--num", "2", "--length-penalty", "0.5"],
            {"beam": {"width": 4, "length_penalty": 0.5, "num_results": 2}, "num_sequences": None},
        ),
    ],
)
def test_every_option_reaches_the_server(
    server: FakeServer, lmscore: Lmscore, arguments: list[str], expected: dict[str, Any]
) -> None:
    assert lmscore("generate", "--json", *arguments, "é")[0] == 0

    (request,) = server.behaviour.generate_requests
    default: dict[str, Any] = {"model": {"name": "fake"}, "prompt": "é", "bos": True}
    default |= {"num_sequences": 1}
    if not {"sampling", "beam"} & expected.keys():
        default["greedy"] = {}
    wanted = {name: value for name, value in (default | expected).items() if value is not None}
    assert MessageToDict(request, preserving_proto_field_name=True) == wanted


def test_the_timeout_is_the_calls_deadline(server: FakeServer, lmscore: Lmscore) -> None:
    server.behaviour.generate_messages = 2

    def generate(seconds: float) -> None:
        exit_code, out, err = lmscore("generate", "--timeout", str(seconds), "the")
        assert (exit_code, out) == (1, "the a\n")
        assert "Deadline Exceeded" in err.splitlines()[-1]  # gRPC has several words for it

    patiently(generate)
    assert server.behaviour.end_of_stream() == "cancelled"


def test_an_error_in_the_middle_begins_a_line(server: FakeServer, lmscore: Lmscore) -> None:
    server.behaviour.generate_messages = 3
    server.behaviour.generate_end = Failure(StatusCode.INTERNAL, "incident f00")
    exit_code, out, err = lmscore("generate", "the")

    assert (exit_code, out) == (1, "the a aa\n")
    assert err.splitlines()[-1] == "lmscore: incident f00"


def test_an_error_before_the_text_is_one_line(lmscore: Lmscore) -> None:
    assert lmscore("generate", "the", "--model", "nothing") == (
        1,
        "",
        "lmscore: there is no model nothing\n",
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--beam", "2", "--temperature", "1"], "--beam and --temperature exclude each other"),
        (["--beam", "2", "--top-k", "1"], "--beam and --top-k exclude each other"),
        (["--beam", "2", "--top-p", "1"], "--beam and --top-p exclude each other"),
        (["--beam", "2", "--min-p", "0"], "--beam and --min-p exclude each other"),
        (["--beam", "2", "--seed", "0"], "--beam and --seed exclude each other"),
        (["--beam", "2", "--alternatives", "1"], "--beam and --alternatives exclude each other"),
        (["--beam", "2", "--num", "3"], "--num 3 is more than --beam 2 can find"),
        (["--length-penalty", "1"], "--length-penalty is of no use without --beam"),
        (["--temperature", "0"], "0 is the likeliest token each time"),
        (["--temperature", "-1"], "'-1' is not above 0"),
        (["--top-p", "1.5"], "'1.5' is not from 0 to 1"),
        (["--min-p", "nan"], "'nan' is not a finite number"),
        (["--num", "0"], "0 is not in the range x>=1"),
        (["--stop", "\udcff"], "'\\udcff' is not UTF-8"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(
    lmscore: Lmscore, arguments: list[str], problem: str
) -> None:
    exit_code, out, err = lmscore("generate", "the", *arguments)

    assert (exit_code, out) == (2, "")
    assert problem in err
    assert err.endswith("(see lmscore generate --help)\n")
    assert len(err.splitlines()) == 1


# --- as a process ---


def test_the_prompt_comes_from_standard_input(server: FakeServer) -> None:
    done = subprocess.run(
        [*COMMAND, "generate", "-"],
        input="é\nb\n".encode(),
        env={**environment(server), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == "é\nb a aa aaa\n"
    assert server.behaviour.generate_requests[0].prompt == "é\nb"


def test_text_is_shown_as_it_comes(server: FakeServer) -> None:
    server.behaviour.generate_messages = 3  # started and two tokens of three
    with subprocess.Popen(
        [*COMMAND, "generate", "the"],
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        shown = process.stdout.read(len("the a aa"))
        process.kill()
    assert shown == b"the a aa"
    assert server.behaviour.end_of_stream() == "cancelled"


@pytest.mark.parametrize(
    ("arguments", "messages", "shown", "told"),
    [
        ([], 3, b"the a aa", "cancelled after 2 tokens"),
        ([], 2, b"the a", "cancelled after 1 token"),
        (["--no-echo"], 1, b"", "cancelled after 0 tokens"),
    ],
)
def test_an_interrupt_cancels_and_says_so(
    server: FakeServer, arguments: list[str], messages: int, shown: bytes, told: str
) -> None:
    server.behaviour.generate_messages = messages
    with interruptible(server, "generate", "the", *arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"fake version 1\n"
        assert process.stdout.read(len(shown)) == shown
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == (b"\n" if shown else b"")
        assert process.stderr.read().decode() == f"\nlmscore: {told}\n"

    assert process.returncode == 130
    assert server.behaviour.end_of_stream() == "cancelled"


def test_an_interrupt_leaves_whole_lines_of_json(server: FakeServer) -> None:
    server.behaviour.generate_messages = 2
    with interruptible(server, "generate", "the", "--json") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b""

    assert process.returncode == 130
    assert [each["event"] for each in records(b"".join(lines).decode())] == ["started", "token"]


@pytest.mark.parametrize("to_terminal", [True, False])
def test_notes_are_dim_on_a_terminal(server: FakeServer, to_terminal: bool, tmp_path: Path) -> None:
    notes = notes_on_a_terminal if to_terminal else notes_to_a_pipe
    with (tmp_path / "out").open("wb") as out:
        written = notes(server, "generate", "the", "--seed", "7", out=out, cwd=tmp_path)
    dim = b"\x1b[2m" if to_terminal else b""
    assert written.startswith(dim + b"fake version 1, seed 7")
