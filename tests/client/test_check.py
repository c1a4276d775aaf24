"""Errors found from Python and by ``lmscore check``, with a model that is known by hand."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from lmscore.client import AsyncClient, Client, DetectionThresholds, InvalidArgumentError
from lmscore.client.cli.app import run
from lmscore.models.error_detection.calibration import calibrate, write_calibration
from lmscore.models.error_detection.misfit import rescored_bytes
from lmscore.models.language_model import Texts
from lmscore.models.loading import fingerprint, load_model
from tests.client.served import served
from tests.server.harness import running, settings_for


@pytest.fixture(scope="module")
def address(tiny_arpa: Path) -> Iterator[str]:
    """A server on a thread of its own, where its event loop is."""
    started, stop = threading.Event(), asyncio.Event()
    found: list[tuple[str, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        async with running(settings_for(tiny_arpa)) as connection:
            found.append((connection.server.address, asyncio.get_running_loop()))
            started.set()
            await stop.wait()

    # What the server says would be among what the command writes.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    [(where, loop)] = found
    yield where
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    structlog.reset_defaults()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("a b\nü ü b\n\na <c>\n")
    return path


def test_a_client_gives_spans_words_and_alternatives(address: str) -> None:
    with Client(address, model="tiny") as client:
        answer = client.detect_errors(
            ["a b", "a c"], threshold=1.0, criterion="surprisal", alternatives=1, words=True
        )

    assert answer[0].spans == ()
    [span] = answer[1].spans
    assert (span.text, span.begin_byte, span.end_byte, span.oov) == ("c", 2, 3, True)
    assert span.surprisal == pytest.approx(-math.log(5 / 7 * 0.1), abs=1e-5)
    [alternative] = span.alternatives
    gain = math.log(0.5 * 0.5) - math.log(5 / 7 * 0.1 * 0.2)
    assert (alternative.text, alternative.source) == ("b", "vocabulary")
    assert alternative.gain == pytest.approx(gain, abs=1e-5)
    assert [word.score.text for word in answer[1].words] == ["a", "c", "</s>"]


async def test_the_client_on_asyncio_gives_the_same(address: str) -> None:
    async with AsyncClient(address, model="tiny") as client:
        answer = await client.detect_errors(["a c"], threshold=1.0)
        with pytest.raises(InvalidArgumentError):
            await client.detect_errors(["a"], criterion="taste")  # type: ignore[arg-type]
    with Client(address, model="tiny") as client:
        assert client.detect_errors(["a c"], threshold=1.0).outcomes == answer.outcomes


def test_errors_are_told_by_file_line_and_column(
    address: str, text: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--address", address, "--by", "surprisal", "--threshold", "3", "--alternatives", "1"]
    code = run(["check", str(text), *options])
    lines = capfd.readouterr().out.splitlines()

    assert code == 1
    assert [line.removeprefix(str(text)).split(" ")[0] for line in lines] == [":2:1:", ":4:3:"]
    assert lines[0].startswith(f'{text}:2:1: "ü ü" is unknown (surprisal 2.71 nats); rather ')
    assert '"<c>"' in lines[1]


def test_a_text_without_errors_and_what_cannot_be_checked_have_their_exit_codes(
    address: str, text: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clean = text.with_name("clean.txt")
    clean.write_text("a b\nb\n")

    assert run(["check", str(clean), "--address", address, "--threshold", "5"]) == 0
    assert capfd.readouterr().out == ""
    assert run(["check", str(clean), "--address", address]) == 2  # it was not calibrated
    assert "--calibrate" in capfd.readouterr().err
    assert run(["check", str(clean), "--address", address, "--threshold", "many"]) == 2
    assert run(["check", str(clean), "--address", "127.0.0.1:1", "--timeout", "0.2"]) == 2


def test_models_tell_what_they_were_calibrated_to(
    tiny_arpa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calibrated.arpa"
    path.write_bytes(tiny_arpa.read_bytes())
    found = calibrate(load_model(path), [Texts.from_strings(["a b", "b"])], 0.5)
    write_calibration(path, fingerprint(path), found)
    with served({"calibrated": path, "plain": tiny_arpa}) as where:
        with Client(where) as client:
            models = {each.identity.name: each for each in client.list_models()}
        capsys.readouterr()
        assert run(["models", "--json", "--address", where]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    thresholds = {name: found.threshold(name) for name in ("surprisal", "misfit")}
    assert models["plain"].detection_thresholds is None
    assert models["calibrated"].detection_thresholds == DetectionThresholds(0.5, **thresholds)
    assert [each.get("detection_thresholds") for each in records] == [
        {"quantile": 0.5, **thresholds},
        None,
    ]


def test_lines_that_are_too_much_together_are_checked_one_by_one(
    address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["a b a b", "b a c a", "a " * 50, "c"]
    most = max(rescored_bytes(Texts.from_strings(lines[:2])).tolist())
    monkeypatch.setattr("lmscore.server.convert.detect.MAX_RESCORED_BYTES", most)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(lines))

    options = ["--threshold", "9", "--alternatives", "0", "--json"]
    assert run(["check", str(text), "--address", address, *options]) == 2
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [each["line"] for each in records if "error" in each] == [3]
    assert [[span["text"] for span in each.get("spans", [])] for each in records] == [
        [],
        ["c"],
        [],
        ["c"],
    ]


def test_lines_before_one_that_is_not_utf8_are_checked(
    address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(b"a c\na \xff\na b\n")

    assert run(["check", str(text), "--address", address, "--threshold", "9"]) == 2
    out, err = capfd.readouterr()
    assert out.startswith(f'{text}:1:3: "c" is unknown')
    assert f"{text}:2: not UTF-8" in err


def test_a_page_without_a_folder_is_told_before_anything_is_checked(
    text: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nowhere = str(text.parent / "no" / "page.html")
    assert run(["check", str(text), "--address", "127.0.0.1:1", "--html", nowhere]) == 2
    assert "there is no folder" in capfd.readouterr().err


def test_json_has_a_record_for_each_line(
    address: str, text: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run(["check", str(text), "--address", address, "--threshold", "9", "--json"])
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    assert code == 1
    assert [record["line"] for record in records] == [1, 2, 3, 4]
    assert [[span["text"] for span in record["spans"]] for record in records] == [
        [],
        ["ü ü"],
        [],
        ["<c>"],
    ]
    assert {(record["model"], record["threshold"], record["criterion"]) for record in records} == {
        ("tiny", 9.0, "misfit")
    }


def test_the_page_shows_the_text_as_it_is_and_needs_nothing_from_elsewhere(
    address: str, text: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    run(["check", str(text), "--address", address, "--threshold", "9", "--html", str(page)])
    html = page.read_text("utf-8")

    assert "&lt;c&gt;</span></mark>" in html
    assert "<c>" not in html
    assert html.count('<mark class="unknown">') == 3  # and in the legend
    assert "http" not in html
    assert "<script" not in html
    assert "<!--" not in html.removeprefix("<!doctype html>")
