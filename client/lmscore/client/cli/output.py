"""What subcommands write: JSON lines and tables to standard output, notes to standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from io import StringIO
from typing import Any, Protocol, TextIO, cast

import click
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import Progress
from rich.table import Table

from lmscore.client.errors import ItemError
from lmscore.client.results import ModelIdentity
from lmscore.client.textfile import STDIN


class Readable(Protocol):
    """What is read piece by piece."""

    @property
    def path(self) -> str:
        """What it is called."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes of it, where that is known."""
        ...

    @property
    def position(self) -> int:
        """Bytes that have been read."""
        ...


def note(message: str, *, dim: bool = False) -> None:
    """Write one line to standard error; dim is for terminals."""
    click.secho(" ".join(message.split()), err=True, dim=dim or None)


def complain(message: str) -> None:
    """Write what went wrong to standard error, in one line."""
    note(f"lmscore: {message}")


def visible(token: str) -> str:
    """A token as a line of text can show it: one with blanks or control characters in quotes."""
    return token if token.isprintable() and " " not in token and token else repr(token)


@contextmanager
def output(path: str = "-") -> Iterator[TextIO]:
    """A file or standard output, in UTF-8 whatever the locale is; flushed at the end."""
    if path == STDIN and sys.stdout is None:  # the shell's >&-
        raise click.ClickException("standard output is closed")
    with click.open_file(path, "w", encoding="utf-8") as out:
        try:
            yield cast(TextIO, out)
        finally:
            out.flush()


def json_line(record: Mapping[str, Any]) -> str:
    """A record as one line of JSON; infinities, which JSON has not, as protobuf spells them."""
    try:
        return _JSON.encode(record) + "\n"
    except ValueError:  # seldom, and looking for them first takes longer than the encoding
        return _JSON.encode(_plain(record)) + "\n"


def record_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, without what was not asked for: fields at a default."""
    return {
        field.name: content
        for field in fields(value)
        if (content := getattr(value, field.name)) != field.default
    }


def answered_by(model: ModelIdentity) -> dict[str, Any]:
    """Which model a record comes from."""
    return {"model": model.name, "version": model.version}


def error_record(error: ItemError) -> dict[str, Any]:
    """An item's error for a record; the code is its gRPC name."""
    return {"error": record_of(error) | {"code": error.code.name}}


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=record_of)


def _plain(value: Any) -> Any:
    """The same value with what JSON has no number for spelled out."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value):
        return _plain(record_of(value))
    return value


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]], left: Container[int]) -> str:
    """A table as plain lines, its columns aligned right but for those in ``left``.

    As `table_text` writes it, for the thousands of tables that rich would take minutes for.
    """
    table = [headings, *rows]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    return "".join(
        f"{'  '.join(_cell(row[i], width, i in left) for i, width in enumerate(widths)).rstrip()}\n"
        for row in table
    )


def _cell(text: str, width: int, left: bool) -> str:
    padding = " " * (width - cell_len(text))  # in cells: some characters take two, some none
    return text + padding if left else padding + text


def table_text(table: Table) -> str:
    """A table as plain lines, as wide as it needs to be."""
    console = Console(file=StringIO(), width=10**4)
    console.width = Measurement.get(console, console.options, table).maximum
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


@contextmanager
def progress(source: Readable, out: TextIO | None = None) -> Iterator[Callable[[], None]]:
    """A bar of how much of a file was read, on standard error; gives what moves it.

    Only there if that is a terminal and ``out`` is not: lines that come by show progress too.
    """
    console = Console(stderr=True)
    shown = console.is_terminal and not (out is not None and out.isatty())
    with Progress(console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(escape(source.path), total=source.size)
        yield lambda: bar.update(task, completed=source.position)
