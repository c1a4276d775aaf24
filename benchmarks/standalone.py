"""The command line of one section: sizes as options, rows as a table, the result as a file."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from benchmarks.machine import ROOT, Usage, commit, this_machine
from benchmarks.result import Measured, Section, write_result

T = TypeVar("T")


def run_alone(name: str, measure: Callable[[T], Section], full: T, quick: T) -> None:
    """Measure with the sizes that the command line asks for; print, and write if asked."""
    from benchmarks.terminal import show

    options, sizes = _parse(measure, full, quick)
    machine, usage = this_machine(), Usage()
    section = measure(sizes)
    command = shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *_shown()])
    date = datetime.now(UTC).date().isoformat()
    values = {key: _plain(value) for key, value in asdict(sizes).items()}  # type: ignore[call-overload]
    measured = Measured(
        name, command, section, machine, date, commit(), round(usage.seconds, 1), values,
        usage.elsewhere(),
    )  # fmt: skip
    show(measured)
    if options.json:
        write_result(options.json, measured)


def _parse(measure: Callable[[T], Section], full: T, quick: T) -> tuple[argparse.Namespace, T]:
    parser = argparse.ArgumentParser(
        description=sys.modules[measure.__module__].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the result")
    hints = get_type_hints(type(full))
    names = [each.name for each in fields(full)]  # type: ignore[arg-type]
    for each in fields(full):  # type: ignore[arg-type]
        _add_option(parser, each.name, hints[each.name], getattr(full, each.name))
    options = parser.parse_args()
    given = {n: _frozen(v) for n in names if (v := getattr(options, n)) is not None}
    base = quick if options.quick else full
    return options, type(full)(**{n: given.get(n, getattr(base, n)) for n in names})


def _add_option(parser: argparse.ArgumentParser, name: str, kind: Any, default: object) -> None:
    """An option that is None unless given."""
    flag = "--" + name.replace("_", "-")
    if kind is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None)
        return
    alternatives = [each for each in get_args(kind) if each not in (type(None), Ellipsis)]
    value = alternatives[0] if alternatives else kind
    shown = f"default: {default}" if default is not None else None
    nargs = "+" if getattr(kind, "__origin__", None) is tuple else None
    parser.add_argument(flag, type=value, help=shown, nargs=nargs)


def _shown() -> list[str]:
    """The command line without the place of the result, and files by their names."""
    arguments = sys.argv[1:]
    if "--json" in arguments:
        place = arguments.index("--json")
        del arguments[place : place + 2]
    return [Path(each).name if each.startswith("/") else each for each in arguments]


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _plain(value: object) -> object:
    if isinstance(value, Path):
        if value.is_relative_to(ROOT):
            return str(value.relative_to(ROOT))
        return value.name if value.is_absolute() else str(value)
    return list(value) if isinstance(value, tuple) else value
