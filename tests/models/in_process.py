"""Commands within this process: a program of its own would import for longer than it works."""

from __future__ import annotations

import io
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

import click

from lmscore.models.commands.running import run


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


def run_here(command: click.Command, name: str, *arguments: object, stdin: bytes = b"") -> Done:
    """What a program of that name would do with arguments and standard input."""
    given, out, err = (io.TextIOWrapper(io.BytesIO(data), "utf-8") for data in (stdin, b"", b""))
    with (
        warnings.catch_warnings(),
        patch.object(sys, "stdin", given),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        warnings.simplefilter("default", UserWarning)  # which a program tells of and goes on
        code = run(command, name, [str(argument) for argument in arguments])
        out.flush()
        err.flush()
    out.seek(0)
    err.seek(0)
    return Done(code, out.buffer.read(), err.buffer.read())
