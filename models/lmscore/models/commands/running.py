"""What all commands do alike: errors and warnings in one line, exit codes, progress."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lmscore.models.errors import ModelError

if TYPE_CHECKING:
    ParameterType = click.ParamType
else:

    class ParameterType(click.ParamType):
        """click's, which older versions cannot say the result's type of."""

        def __class_getitem__(cls, _: object) -> type:
            return cls


FAILURE = 1
USAGE = 2
INTERRUPTED = 130  # what a shell gives a program that SIGINT ended


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code; the arguments are the process' own by default."""
    warnings.showwarning = lambda message, *_: complain(name, f"warning: {message}")
    try:
        return command.main(arguments, prog_name=name, standalone_mode=False) or 0
    except BrokenPipeError:  # the reader has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except click.UsageError as error:
        help_of = error.ctx.command_path if error.ctx else name
        complain(name, f"{error.format_message()} (see {help_of} --help)")
        return USAGE
    except click.Abort:
        complain(name, "interrupted")
        return INTERRUPTED
    except (click.ClickException, ModelError, OverflowError, MemoryError, OSError) as error:
        complain(name, _message(error))
        return FAILURE


def version_option(command: click.Command) -> click.Command:
    """The command with ``--version``, which tells the version that is installed."""
    option = click.version_option(package_name="lmscore", message="%(prog)s %(version)s")
    return option(command)


def complain(name: str, message: str) -> None:
    """Write one line to standard error."""
    click.echo(f"{name}: {' '.join(message.split())}", err=True)


def _message(error: Exception) -> str:
    match error:
        case click.ClickException():
            return error.format_message()
        case OSError(filename=str(name)):
            return f"{name}: {error.strerror}"
        case MemoryError():
            return str(error) or "out of memory"
        case _:
            return str(error)


@contextmanager
def progress_bar() -> Iterator[ProgressBar]:
    """A bar on standard error where that is a terminal."""
    console = Console(stderr=True)
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}"),
    ]
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield ProgressBar(bar)


class ProgressBar:
    """One bar, for one step after the other."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, detail="")

    def begin(self, step: str) -> None:
        """Start anew with a step whose end is not known yet."""
        self._bar.reset(self._task, total=None, description=step, detail="")

    def advance(self, done: int, total: int, detail: str = "") -> None:
        """Show how much of the step is done, and something more about it."""
        self._bar.update(self._task, completed=done, total=total, detail=detail)

    def say(self, line: str) -> None:
        """Write a line above the bar, or to standard error where there is none."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
