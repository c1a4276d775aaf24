"""Measure side by side with peers, and write docs/performance.md.

    python -m benchmarks [SECTION...] [--quick] [--out FOLDER]

Each section is a program of its own, `python -m benchmarks.MODULE`, whose result is kept as JSON.
The page is written out of all results there are, so one section can be renewed alone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
from benchmarks.machine import ROOT
from benchmarks.page import page
from benchmarks.plots import draw, draw_goals
from benchmarks.result import Measured, read_result
from benchmarks.sections import KEPT, MEASURED, ORDER
from benchmarks.terminal import show
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@dataclass(frozen=True)
class Places:
    """Where a run leaves what it makes."""

    page: Path
    results: Path
    plots: Path

    @classmethod
    def of(cls, folder: Path) -> Places:
        return cls(folder / "performance.md", folder / "results", folder / "plots")


DOCS = Places(ROOT / "docs/performance.md", ROOT / "benchmarks/results", ROOT / "docs/plots")
QUICK = Places.of(ROOT / "build/bench-quick")
AT_ONCE_IF_QUICK = 2


@click.command(help=__doc__)
@click.argument("sections", nargs=-1, metavar="[SECTION]...")
@click.option(
    "--quick",
    is_flag=True,
    help="Small sizes, two sections at a time: to see that all works, in two minutes.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the page and all else.")
@click.option("--page-only", is_flag=True, help="Write the page of the results that are there.")
@click.option("--list", "listed", is_flag=True, help="Show the sections.")
def main(
    sections: tuple[str, ...], quick: bool, out: Path | None, page_only: bool, listed: bool
) -> None:
    """Run the sections, write the page; exit code 1 if any section failed."""
    if listed:
        _list_sections()
        return
    console = Console(stderr=True)
    places = Places.of(out.resolve()) if out else QUICK if quick else DOCS
    chosen = () if page_only else _chosen(sections)
    if quick:
        for name in chosen:
            (places.results / f"{name}.json").unlink(missing_ok=True)
    failed = _run_all(chosen, quick, places.results, console)
    results = _results(places.results)
    _write_page(places, results, failed)
    for measured in results:
        if measured.name in chosen and measured.name not in failed:
            show(measured)
    console.print(f"{places.page} is written.")
    sys.exit(1 if failed else 0)


def _list_sections() -> None:
    for name, module in MEASURED.items():
        click.echo(f"{name:16}python -m {module}")
    for name, needed in KEPT.items():
        click.echo(f"{name:16}kept from an earlier run; takes {needed}")


def _chosen(sections: Sequence[str]) -> Sequence[str]:
    """What to run: all that can be, unless some are named."""
    for name in sections:
        if name in KEPT:
            kept = read_result(DOCS.results / f"{name}.json")
            problem = (
                f"{name} is kept from an earlier run: it takes {KEPT[name]}. It is measured by"
            )
            raise click.UsageError(f"{problem}\n    {kept.command}")
        if name not in MEASURED:
            raise click.UsageError(f"no section {name!r}; there are {', '.join(MEASURED)}")
    return sections or tuple(MEASURED)


def _run_all(
    sections: Sequence[str], quick: bool, results: Path, console: Console
) -> dict[str, str]:
    """Why sections failed, of those that did."""
    failed: dict[str, str] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(sections))

        def run(name: str) -> None:
            progress.update(bar, description=name)
            began = time.monotonic()
            problem = _run(name, quick, results / f"{name}.json")
            told = f"{time.monotonic() - began:6.1f} s: {name}"
            console.print(told + (" [red]failed[/red]" if problem else ""), highlight=False)
            if problem is not None:
                failed[name] = problem
                console.print(problem, markup=False, highlight=False)
            progress.advance(bar)

        # Small sizes are for seeing that all works; what is measured for its figures is alone.
        with ThreadPoolExecutor(AT_ONCE_IF_QUICK if quick else 1) as threads:
            list(threads.map(run, sections))
    return failed


def _run(name: str, quick: bool, result: Path) -> str | None:
    """What went wrong, if anything; the result is renewed only if nothing did."""
    command = [sys.executable, "-m", MEASURED[name], "--json", str(result)]
    command += ["--quick"] if quick else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    last = "\n".join((done.stderr or done.stdout).splitlines()[-15:])
    return f"{last}\n(exit code {done.returncode} of python -m {MEASURED[name]})"


def _results(folder: Path) -> list[Measured]:
    paths = (folder / f"{name}.json" for name in ORDER)
    return [read_result(path) for path in paths if path.exists()]


def _write_page(places: Places, results: Sequence[Measured], failed: dict[str, str]) -> None:
    for measured in results:
        for plot in measured.section.plots:
            draw(plot, places.plots)
    draw_goals(results, places.plots)
    places.page.parent.mkdir(parents=True, exist_ok=True)
    places.page.write_text(page(results, tuple(failed)), encoding="utf-8")


if __name__ == "__main__":
    main()
