"""docs/performance.md, out of what has been measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from textwrap import TextWrapper

from benchmarks.formats import COLUMNS, TIMES, bound_text, cells, ratio_text
from benchmarks.formats import amount as amount_text
from benchmarks.machine import Machine
from benchmarks.result import Measured, Row, Section, Table

WIDTH = 120  # of lines
BUSY = 0.3
"""Cores: where other programs took more, the page says so."""

INTRODUCTION = (
    "Written by `make bench`, not by hand; [what limits these figures](limits.md) tells that and "
    "what was tried. Candidates run in one program on one machine, in rounds that alternate. A "
    "figure is the median of its rounds. A ratio says how many times better lmscore is than the "
    "peer: the median of the ratios of all rounds, with those between which the middle half of "
    "them lies. Rates depend on the machine, ratios much less."
)


def page(results: Sequence[Measured], failed: Sequence[str] = (), plots: str = "plots") -> str:
    """The whole page; plots is the folder that it shows them from."""
    blocks = ["# Performance", _filled(INTRODUCTION)]
    if failed:
        blocks.append(f"**Failed in the last run, so not renewed here: {', '.join(failed)}.**")
    common = _usual_machine(results)
    if common:
        told = f"Where nothing else is said, the machine is: {machine_text(common)}."
        blocks.append(_filled(told))
    if goals := [(m, row) for m in results for row in m.section.rows if row.goal]:
        blocks += ["## Goals", _goals(goals)]
        if any(row.ratio is not None for _, row in goals):
            blocks.append(f"![ratios beside goals]({plots}/goals.svg)")
    for measured in results:
        blocks += _section(measured, common, plots)
    return "\n\n".join(blocks) + "\n"


def machine_text(machine: Machine) -> str:
    parts = [
        f"{machine.cores} core{'s' if machine.cores != 1 else ''} of {machine.processor}",
        f"{machine.memory_gib:g} GiB",
        machine.gpu,
        machine.system,
        f"Python {machine.python}",
        *(f"{name} {version}" for name, version in machine.packages.items()),
    ]
    return ", ".join(part for part in parts if part)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _filled(text: str) -> str:
    """Lines that are not too long; names and numbers stay whole."""
    return TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False).fill(text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _usual_machine(results: Sequence[Measured]) -> Machine | None:
    """That of most sections, the load aside."""
    machines = [replace(measured.machine, load=0.0) for measured in results]
    return max(machines, key=machines.count, default=None)


def _goals(goals: Sequence[tuple[Measured, Row]]) -> str:
    told = [row.reached for _, row in goals]
    unknown = f", {told.count(None)} could not be tried" if None in told else ""
    count = f"{told.count(True)} of {len(told)} goals are reached{unknown}."
    rows = [
        (
            f"[{measured.section.title}](#{_anchor(measured.section.title)}): {row.what}",
            bound_text(row.goal, TIMES if row.peer else "", row.unit) if row.goal else "",
            _achieved(row),
            {True: "reached", False: "**missed**", None: "not tried"}[row.reached],
        )
        for measured, row in goals
    ]
    return f"{count}\n\n{markdown_table(('what', 'goal', 'measured', ''), rows)}"


def _achieved(row: Row) -> str:
    if row.peer:
        return f"{ratio_text(row)} {row.peer}".strip() if row.theirs else row.note
    return amount_text(row.figure, row.unit) if row.figure is not None else row.note


def _anchor(title: str) -> str:
    kept = (c for c in title.lower() if c.isalnum() or c in " -")
    return "".join(kept).replace(" ", "-")


def _section(measured: Measured, common: Machine | None, plots: str) -> Iterator[str]:
    section = measured.section
    yield f"## {section.title}"
    yield _filled(section.text)
    yield _filled(_origin(measured, common))
    if section.rows:
        yield markdown_table(COLUMNS, [cells(row) for row in section.rows])
    for table in section.tables:
        yield from _table(table)
    yield from _plots(section, plots)


def _origin(measured: Measured, common: Machine | None) -> str:
    """How, when and where it was measured."""
    sizes = ", ".join(f"{k} {_size(v)}" for k, v in measured.sizes.items() if v not in (None, ""))
    told = [f"`{measured.command}`" + (f" ({sizes})" if sizes else "")]
    took = f", {measured.seconds:.0f} s" if measured.seconds else "; kept from that run"
    told.append(f"{measured.date}, commit {measured.commit}{took}")
    if common is None or replace(measured.machine, load=0.0) != common:
        told.append(f"on {machine_text(measured.machine)}")
    text = "; ".join(told) + "."
    if measured.elsewhere > BUSY:
        text += (
            f" **Other programs took {measured.elsewhere:.1f} of {measured.machine.cores} cores "
            "meanwhile, so these figures are worse than they could be.**"
        )
    return text


def _size(value: object) -> str:
    if isinstance(value, list | tuple):
        return "/".join(map(_size, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _table(table: Table) -> Iterator[str]:
    command = f"`{table.command}`" if table.command else ""
    if before := ": ".join(part for part in (table.before.rstrip(":."), command) if part):
        yield _filled(f"{before}:")
    yield markdown_table(table.columns, table.rows)


def _plots(section: Section, folder: str) -> Iterator[str]:
    for plot in section.plots:
        yield f"![{plot.title}]({folder}/{plot.name}.svg)"
