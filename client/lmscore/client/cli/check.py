"""``lmscore check``: words that do not fit, as a linter tells of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TextIO

import click
from rich.console import Console
from rich.text import Text

from lmscore.client.cli.advice import advised
from lmscore.client.cli.check_report import Report
from lmscore.client.cli.options import (
    batch_option,
    connect,
    connection_options,
    finite,
    json_option,
    model_option,
    source_argument,
)
from lmscore.client.cli.output import (
    answered_by,
    complain,
    error_record,
    json_line,
    output,
    progress,
    record_of,
)
from lmscore.client.client import Client
from lmscore.client.detection import CheckedText, DetectSettings, ErrorSpan
from lmscore.client.errors import ItemError, LmscoreError
from lmscore.client.results import ModelIdentity
from lmscore.client.textfile import FileError, Line, LineReader

FOUND, FAILED = 1, 2
_NO_ROOM = "TEXT_TOO_LONG"  # maybe only beside the other lines of its request


class CheckFailedError(click.ClickException):
    """A text was not checked, which a linter's caller must not take for errors in it."""

    exit_code = FAILED


@click.command()
@source_argument
@click.option(
    "--threshold",
    type=finite,
    metavar="NATS",
    help="Words beyond it are unexpected; default: what the model was calibrated to.",
)
@click.option(
    "--by",
    "criterion",
    type=click.Choice(["misfit", "surprisal"]),
    default="misfit",
    show_default=True,
    help="What is held against it: a word's surprisal, or how badly both sides take it.",
)
@click.option(
    "--alternatives",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="Suggestions for each error; 0 is fastest.",
)
@click.option("--spelling", is_flag=True, help="Suggest words that are spelled alike, too.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write a page that shows how surprising every word is.",
)
@batch_option(64, "Lines")
@model_option
@json_option
@connection_options
def check(
    source: str,
    threshold: float | None,
    criterion: str,
    alternatives: int,
    spelling: bool,
    html: str | None,
    batch: int,
    model: str,
    as_json: bool,
    address: str,
    timeout: float,
) -> int:
    """Look for words that do not fit, in each line of a file or of standard input.

    Writes FILE:LINE:COLUMN, what is there and what would make the line likelier, with the nats that
    it gains; on a terminal also the line with its errors marked. Columns count characters. A model
    knows words as it was trained on them: lower-case, without punctuation, if its text was.

    Exit codes: 0 nothing was found, 1 something was found, 2 it could not be checked.

    \b
    Examples:
      lmscore check transcript.txt
      lmscore check --threshold 3 --spelling --html report.html transcript.txt
      lmscore check --by surprisal --json - <transcript.txt | jq .spans
    """
    settings: DetectSettings = {
        "criterion": "surprisal" if criterion == "surprisal" else "misfit",
        "threshold": threshold,
        "alternatives": alternatives,
        "spelling": spelling,
        "words": html is not None,
    }
    if html is not None and not Path(html).parent.is_dir():
        raise click.UsageError(f"there is no folder {Path(html).parent}")
    lines, found, failed = LineReader(source), 0, 0
    report = Report(source)
    with _failures(), ExitStack() as stack:
        client = stack.enter_context(connect(address, timeout, model))
        out = stack.enter_context(output())
        shown = stack.enter_context(progress(lines, out))
        write = _JsonWriter(out, source) if as_json else _Writer(out, source)
        for line, outcome, answered in _checked(client, lines, batch, settings):
            write(line, outcome, answered)
            report.add(line, outcome, answered)
            if isinstance(outcome, ItemError):
                complain(f"line {line.number}: {outcome.problem}")
                failed += 1
            else:
                found += len(outcome.spans)
            shown()
        if html is not None:
            with output(html) as page:
                page.write(report.page())
    if failed:
        raise CheckFailedError(f"{failed} lines could not be checked")
    return FOUND if found else 0


def _checked(
    client: Client, lines: LineReader, batch: int, settings: DetectSettings
) -> Iterator[tuple[Line, CheckedText | ItemError, ModelIdentity]]:
    for part in _parts(lines, batch):
        answer = client.detect_errors([line.text for line in part], **settings)
        for line, outcome in zip(part, answer.outcomes, strict=True):
            if isinstance(outcome, ItemError) and outcome.reason == _NO_ROOM and len(part) > 1:
                alone = client.detect_errors([line.text], **settings)
                yield line, alone.outcomes[0], alone.model
            else:
                yield line, outcome, answer.model


def _parts(lines: LineReader, size: int) -> Iterator[list[Line]]:
    """The lines in parts; those before one that cannot be read come before its FileError."""
    rest = iter(lines)
    while True:
        part: list[Line] = []
        try:
            part.extend(islice(rest, size))  # keeps what it had when it fails
        except FileError:
            if part:
                yield part
            raise
        if not part:
            return
        yield part


@contextmanager
def _failures() -> Iterator[None]:
    """Give what goes wrong an exit code that is not that of errors found."""
    try:
        yield
    except (click.UsageError, BrokenPipeError):
        raise
    except click.ClickException as error:
        raise CheckFailedError(error.format_message()) from error
    except LmscoreError as error:
        raise CheckFailedError(advised(error)) from error
    except FileError as error:
        raise CheckFailedError(str(error)) from error
    except OSError as error:
        raise CheckFailedError(f"{error.filename}: {error.strerror}") from error


class _JsonWriter:
    """One record a line of the text."""

    def __init__(self, out: TextIO, source: str) -> None:
        self._out, self._source = out, source

    def __call__(self, line: Line, outcome: CheckedText | ItemError, model: ModelIdentity) -> None:
        figures = error_record(outcome) if isinstance(outcome, ItemError) else record_of(outcome)
        figures.pop("words", None)
        place = {"file": self._source, "line": line.number, "text": line.text}
        self._out.write(json_line({**place, **figures, **answered_by(model)}))


class _Writer:
    """One line an error, as compilers write them; on a terminal with the text that it is in."""

    def __init__(self, out: TextIO, source: str) -> None:
        self._out, self._source = out, source
        self._console = Console(file=out, soft_wrap=True, highlight=False)

    def __call__(self, line: Line, outcome: CheckedText | ItemError, _: ModelIdentity) -> None:
        if isinstance(outcome, ItemError) or not outcome.spans:
            return
        for span in outcome.spans:
            column = columns_before(line.text, span.begin_byte) + 1
            self._out.write(f"{self._source}:{line.number}:{column}: {message(span, outcome)}\n")
        if self._console.is_terminal:
            self._console.print(_marked(line.text, outcome.spans))


def message(span: ErrorSpan, checked: CheckedText) -> str:
    """What is wrong with a span, and what would be better."""
    if span.beyond_threshold:
        limit = f"{checked.criterion} {span.unexpectedness:.2f} > {checked.threshold:.2f}"
        problem = f"is {'unknown and ' if span.oov else ''}unexpected ({limit} nats"
        if checked.criterion != "surprisal":
            problem += f", surprisal {span.surprisal:.2f}"
        problem += ")"
    else:
        problem = f"is unknown (surprisal {span.surprisal:.2f} nats)"
    return f'"{span.text}" {problem}{suggestions(span)}'


def suggestions(span: ErrorSpan) -> str:
    """The alternatives of a span and what they gain; empty if there are none."""
    if not span.alternatives:
        return ""
    names = [f'"{each.text}"' if each.text else "nothing" for each in span.alternatives]
    gains = [f"({each.gain:+.2f})" for each in span.alternatives]
    return "; rather " + ", ".join(map(" ".join, zip(names, gains, strict=True)))


def columns_before(text: str, byte: int) -> int:
    """Characters of a text before one of its bytes."""
    return len(text.encode()[:byte].decode(errors="replace"))


def _marked(text: str, spans: tuple[ErrorSpan, ...]) -> Text:
    marked = Text(f"    {text}")
    for span in spans:
        begin, end = (columns_before(text, byte) + 4 for byte in (span.begin_byte, span.end_byte))
        style = "bold underline red" if span.beyond_threshold else "bold underline yellow"
        marked.stylize(style, begin, end)
    return marked
