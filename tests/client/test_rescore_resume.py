"""A run of ``lmscore rescore`` that was ended goes on as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from grpc import StatusCode

from lmscore.client import Hypothesis, NBestList
from lmscore.client.cli import rescore_run
from lmscore.client.nbest import write_nbest
from lmscore.client.progress_file import Progress, progress_path
from tests.client import fake_server
from tests.client.commands import COMMAND, Lmscore, environment
from tests.client.fake_server import Failure, FakeServer

LISTS = [
    NBestList(
        f"u{i}",
        tuple(Hypothesis("ab " * j + "x" * i, {"score": -float(j)}) for j in range(1 + i % 3)),
        f"ab {'x' * i}",
    )
    for i in range(7)
]


@pytest.fixture(autouse=True)
def save_after_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescore_run, "_SECONDS_BETWEEN_SAVES", -1.0)


def in_ones(folder: Path) -> list[str | Path]:
    """Arguments that send a list at a time."""
    return [folder / "nbest", "-o", folder / "out", "--batch", "1"]


def contents(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def interrupted(
    server: FakeServer, lmscore: Lmscore, arguments: list[str | Path], *, after: int
) -> None:
    """Run until the server fails a batch of one list, once so many are done."""
    calls = 0
    enter = server.behaviour.enter

    def enter_or_fail(method: str, context: fake_server.Context) -> None:
        nonlocal calls
        calls += method == "Rescore"
        if calls > after:
            Failure(StatusCode.INTERNAL).end(context)
        enter(method, context)

    server.behaviour.enter = enter_or_fail  # type: ignore[method-assign]
    exit_code, _, err = lmscore("rescore", *arguments)
    assert exit_code == 1
    assert "--resume goes on" in err
    server.behaviour.enter = enter  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("format_name", "output_format"),
    [
        ("jsonl", "best"),
        ("jsonl", "tsv"),
        ("mlm-scoring", "same"),
        ("espnet", "same"),
        ("jsonl", "--json"),
    ],
)
def test_a_resumed_run_writes_the_same_bytes(
    server: FakeServer, lmscore: Lmscore, tmp_path: Path, format_name: str, output_format: str
) -> None:
    source, whole, parts = tmp_path / "nbest", tmp_path / "whole", tmp_path / "parts"
    write_nbest(source, LISTS, format=format_name)
    how = ["--json"] if output_format == "--json" else ["--output-format", output_format]
    arguments: list[str | Path] = [source, *how, "--batch", "1"]
    _, _, table = lmscore("rescore", *arguments, "-o", whole)

    interrupted(server, lmscore, [*arguments, "-o", parts], after=4)
    for path in parts.rglob("*") if parts.is_dir() else [parts]:
        if path.is_file():
            with path.open("ab") as file:
                file.write(b"half a rec")  # what a kill leaves behind
    exit_code, _, resumed_table = lmscore("rescore", *arguments, "-o", parts, "--resume")
    assert exit_code == 0
    assert contents(parts) == contents(whole)
    assert resumed_table == table  # word error rates of all lists
    assert not progress_path(str(parts)).exists()


def test_only_what_is_missing_is_asked_again(
    server: FakeServer, lmscore: Lmscore, tmp_path: Path
) -> None:
    write_nbest(tmp_path / "nbest", LISTS)
    arguments = in_ones(tmp_path)
    interrupted(server, lmscore, arguments, after=4)
    found = Progress.load(progress_path(str(tmp_path / "out")))
    server.behaviour.calls.clear()

    assert found is not None
    assert lmscore("rescore", *arguments, "--resume")[0] == 0
    assert server.behaviour.calls["Rescore"] == len(LISTS) - found.lists


def test_a_killed_run_goes_on(server: FakeServer, lmscore: Lmscore, tmp_path: Path) -> None:
    lists = [NBestList(f"u{i}", (Hypothesis("ab", {"score": 0.0}),)) for i in range(200)]
    source, out = tmp_path / "nbest", tmp_path / "out"
    write_nbest(source, lists)
    server.behaviour.most_answers["Rescore"] = 50
    command: list[str | Path] = [*COMMAND, "rescore", *in_ones(tmp_path)]
    with subprocess.Popen(command, env=environment(server)) as process:
        give_up = time.monotonic() + fake_server.LONG_SECONDS
        while not (out.exists() and out.stat().st_size) and time.monotonic() < give_up:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    server.behaviour.most_answers.clear()

    assert out.stat().st_size < 200 * 6
    assert progress_path(str(out)).exists()
    assert lmscore("rescore", source, "-o", out, "--batch", "1", "--resume")[0] == 0
    assert out.read_text() == "".join(f"u{i}\tab\n" for i in range(200))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (["--lm-weight", "2"], "the weights of models was {'fake': 1.0} and is {'fake': 2.0}"),
        (["--batch", "2"], "--batch was 1 and is 2"),
        (["--output-format", "trn"], "the output format was 'best' and is 'trn'"),
        (["--model", "other"], "--model was ['fake'] and is ['other']"),
    ],
)
def test_other_settings_are_refused_by_name(
    server: FakeServer, lmscore: Lmscore, tmp_path: Path, changed: list[str], problem: str
) -> None:
    server.behaviour.models.append("other")
    write_nbest(tmp_path / "nbest", LISTS)
    arguments = in_ones(tmp_path)
    interrupted(server, lmscore, [*arguments, "--model", "fake"], after=4)
    before = (tmp_path / "out").read_bytes()

    model = [] if changed[0] == "--model" else ["--model", "fake"]
    exit_code, _, err = lmscore("rescore", *arguments, *model, *changed, "--resume")
    assert exit_code == 1
    assert problem in err
    assert "Start again without --resume" in err
    assert (tmp_path / "out").read_bytes() == before


def test_another_model_of_the_same_name_is_refused(
    server: FakeServer, lmscore: Lmscore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nbest(tmp_path / "nbest", LISTS)
    arguments = in_ones(tmp_path)
    interrupted(server, lmscore, arguments, after=4)

    monkeypatch.setattr(fake_server, "FINGERPRINT", "cd" * 32)
    exit_code, _, err = lmscore("rescore", *arguments, "--resume")
    assert exit_code == 1
    assert "the fingerprint of model fake was 'abab" in err


def test_another_input_is_refused(server: FakeServer, lmscore: Lmscore, tmp_path: Path) -> None:
    source = tmp_path / "nbest"
    write_nbest(source, LISTS)
    arguments = in_ones(tmp_path)
    interrupted(server, lmscore, arguments, after=4)

    content = source.read_text()
    source.write_text(content.replace('"u', '"v'))
    assert "was u" in lmscore("rescore", *arguments, "--resume")[2]
    source.write_text(content + content)
    assert "the size of the input was" in lmscore("rescore", *arguments, "--resume")[2]


def test_a_shortened_output_is_not_gone_on_with(
    server: FakeServer, lmscore: Lmscore, tmp_path: Path
) -> None:
    write_nbest(tmp_path / "nbest", LISTS)
    arguments = in_ones(tmp_path)
    interrupted(server, lmscore, arguments, after=4)
    (tmp_path / "out").write_text("")

    exit_code, _, err = lmscore("rescore", *arguments, "--resume")
    assert exit_code == 1
    assert "it has 0 bytes where" in err


def test_without_an_earlier_run_resuming_is_beginning(lmscore: Lmscore, tmp_path: Path) -> None:
    write_nbest(tmp_path / "nbest", LISTS)

    assert lmscore("rescore", tmp_path / "nbest", "-o", tmp_path / "out", "--resume")[0] == 0
    assert len((tmp_path / "out").read_text().splitlines()) == len(LISTS)


def test_a_damaged_file_of_progress_is_named(lmscore: Lmscore, tmp_path: Path) -> None:
    write_nbest(tmp_path / "nbest", LISTS)
    (tmp_path / "out.progress").write_text("[]")

    exit_code, _, err = lmscore("rescore", tmp_path / "nbest", "-o", tmp_path / "out", "--resume")
    assert exit_code == 1
    assert "out.progress: it is not a file of progress" in err
