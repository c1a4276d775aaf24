"""The command with its subcommands, and what every one of them does about errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from lmscore.client.cli.admin import admin
from lmscore.client.cli.advice import advised
from lmscore.client.cli.check import check
from lmscore.client.cli.evaluate import evaluate
from lmscore.client.cli.generate import generate
from lmscore.client.cli.models import models
from lmscore.client.cli.output import complain
from lmscore.client.cli.predict import predict
from lmscore.client.cli.rescore import rescore
from lmscore.client.cli.score import score
from lmscore.client.cli.tokenize import tokenize
from lmscore.client.cli.top import top
from lmscore.client.cli.tune import tune
from lmscore.client.errors import LmscoreError
from lmscore.client.nbest import UnknownFormatError
from lmscore.client.textfile import FileError

FAILURE = 1
USAGE = 2
INTERRUPTED = 130  # what a shell gives a program that SIGINT ended


@click.group(
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="lmscore", message="%(prog)s %(version)s")
def command() -> None:
    """Put probabilities on text with a language-model server.

    Exit codes: 0 all went well, 1 something failed, 2 the command line is wrong, 130 it was
    interrupted; check has its own. Errors are one line on standard error.
    """


command.add_command(score)
command.add_command(rescore)
command.add_command(tune)
command.add_command(evaluate)
command.add_command(predict)
command.add_command(check)
command.add_command(generate)
command.add_command(tokenize)
command.add_command(models)
command.add_command(top)
command.add_command(admin)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit code; the arguments are the process' own by default."""
    try:
        return command.main(arguments, prog_name="lmscore", standalone_mode=False) or 0
    except BrokenPipeError:  # the reader has had enough, as `head` does
        _discard_output()
        return FAILURE
    except (click.ClickException, click.Abort, LmscoreError, FileError, OSError) as error:
        complain(_message(error))
        return _exit_code(error)


def _message(error: Exception) -> str:
    match error:
        case click.UsageError(ctx=click.Context(command_path=path)):
            return f"{error.format_message()} (see {path} --help)"
        case click.ClickException():
            return error.format_message()
        case click.Abort():
            return str(error) or "interrupted"
        case OSError(filename=str(name)):
            return f"{name}: {error.strerror}"
        case LmscoreError():
            return advised(error)
        case _:
            return str(error)


def _exit_code(error: Exception) -> int:
    match error:
        case UnknownFormatError():
            return USAGE
        case click.ClickException():  # a usage error's is 2
            return error.exit_code
        case click.Abort():
            return INTERRUPTED
        case _:
            return FAILURE


def _discard_output() -> None:
    """Keep Python from writing what is left to the closed pipe when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
