"""Running the command, in this process or in one of its own."""

from __future__ import annotations

import errno
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeAlias

import pytest

from tests.client.fake_server import FakeServer

COMMAND = [sys.executable, "-m", "lmscore.client.cli.launcher"]
Lmscore: TypeAlias = Callable[..., tuple[int, str, str]]
"""Runs the command against a server; gives its exit code, output and notes."""


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]


def environment(server: FakeServer) -> dict[str, str]:
    return {**os.environ, "LMSCORE_ADDRESS": server.address}


def interruptible(server: FakeServer, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """The command as a process that SIGINT interrupts.

    A background job of a shell ignores it, and so would its children.
    """
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from lmscore.client.cli.launcher import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def notes_on_a_terminal(server: FakeServer, *arguments: str, out: IO[bytes], cwd: Path) -> bytes:
    """What the command writes to standard error where that is a terminal."""
    terminal, notes = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,  # for short paths, which leave room beside them
        env={**environment(server), "TERM": "xterm"},
        stdout=out,
        stderr=notes,
    ) as process:
        os.close(notes)
        written = b"".join(iter(lambda: _read(terminal), b""))  # it is small, and could be full
    os.close(terminal)
    assert process.returncode == 0
    return written


def notes_to_a_pipe(server: FakeServer, *arguments: str, out: IO[bytes], cwd: Path) -> bytes:
    """What it writes there where that is none."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env={**environment(server), "TERM": "xterm"},
        stdout=out,
        stderr=subprocess.PIPE,
        check=True,
    )
    return done.stderr


def _read(terminal: int) -> bytes:
    """What there is; nothing once nobody has it open to write."""
    try:
        return os.read(terminal, 2**16)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""
