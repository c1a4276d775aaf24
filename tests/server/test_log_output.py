"""Log lines that nobody reads: they do not stop whoever writes them."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path

import pytest

from lmscore.server.log_output import ImpatientStream


def noted(count: int) -> str:
    return json.dumps({"left_out": count})


def filled_pipe() -> tuple[int, int]:
    """A pipe without room for one byte more."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"\n" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    return reading, writing


def emptied(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    data = b""
    try:
        while piece := os.read(descriptor, 65536):
            data += piece
    except BlockingIOError:
        pass
    return data


def test_lines_without_a_reader_are_left_out_and_counted_when_there_is_room_again() -> None:
    reading, writing = filled_pipe()
    with os.fdopen(writing, "w") as file:
        stream = ImpatientStream(file, noted)
        for i in range(3):
            stream.write(f"lost {i}\n")  # a plain file would wait here for ever
        emptied(reading)
        stream.write("seen\n")
        stream.write("seen too\n")

        lines = emptied(reading).decode().splitlines()
    os.close(reading)
    assert lines == ['{"left_out": 3}', "seen", "seen too"]


def test_a_long_line_ends_where_there_is_no_more_room() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        stream = ImpatientStream(file, noted)
        stream.write("x" * 200_000 + "\n")  # a pipe holds 64 KiB

        written = emptied(reading)
        stream.write("seen\n")
        rest = emptied(reading).decode()
    os.close(reading)
    assert set(written) == {ord("x")}
    assert 4096 <= len(written) < 200_000
    assert rest.splitlines()[-2:] == ['{"left_out": 1}', "seen"]


def test_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    file = os.fdopen(writing, "w")
    stream = ImpatientStream(file, noted)
    stream.write("nobody reads this\n")

    with pytest.raises(BrokenPipeError):  # what a plain file makes of it
        file.flush()
    with contextlib.suppress(BrokenPipeError):  # what the file still holds is not the stream's
        file.close()


def test_files_and_streams_without_a_descriptor_take_everything(tmp_path: Path) -> None:
    text = "é" * 10_000 + "\n"
    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        ImpatientStream(file, noted).write(text)
    memory = io.StringIO()
    ImpatientStream(memory, noted).write(text)

    assert (tmp_path / "log").read_text(encoding="utf-8") == memory.getvalue() == text
