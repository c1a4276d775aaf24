"""Results as tables in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.formats import COLUMNS, cells
from benchmarks.result import Measured, Table
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable


def show(measured: Measured, console: Console | None = None) -> None:
    """One section: its rows, then its other tables."""
    console = console or Console(width=None if sys.stdout.isatty() else 160)
    section = measured.section
    if section.rows:
        console.print(_table(section.title, COLUMNS, [cells(row) for row in section.rows]))
    for table in section.tables:
        console.print(_other(section.title, table))
    sizes = ", ".join(f"{name}={value}" for name, value in measured.sizes.items() if value)
    console.print(f"[dim]{measured.seconds:.0f} s; {escape(sizes)}[/dim]")
    if measured.elsewhere > 0.3:
        busy = f"other programs took {measured.elsewhere:.1f} cores meanwhile"
        console.print(f"[yellow]{busy}[/yellow]")


def _other(title: str, table: Table) -> RichTable:
    return _table(title, table.columns, table.rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> RichTable:
    table = RichTable(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
