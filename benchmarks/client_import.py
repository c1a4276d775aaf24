"""How long the client takes to import, beside gRPC, which is a part of it.

    python -m benchmarks.client_import [--rounds N]

`lmscore.client` imports its names when they are first used: `lmscore.client.client` is what
`from lmscore.client import Client` really costs. The section "loading" shows the same rows.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.result import Goal, Row, Section
from benchmarks.standalone import run_alone
from benchmarks.timing import in_turns


@dataclass(frozen=True)
class Sizes:
    rounds: int = 10


def measure(sizes: Sizes) -> Section:
    text = "Modules with all that they import, each time in a fresh process."
    return Section("The client", text, tuple(import_rows(sizes.rounds)))


def import_rows(rounds: int) -> Iterator[Row]:
    """What `from lmscore.client import Client` costs is the module that holds it."""
    names = {
        "grpc": None,
        "lmscore.client": None,
        "lmscore.client.client": Goal(0.15, at_most=True),
    }
    found = in_turns(rounds, {name: _importing(name) for name in names})
    for name, bound in names.items():
        yield Row(f"`import {name}`", "s", found[name], less_is_better=True, goal=bound)


def _importing(name: str) -> Callable[[], float]:
    """Time of a module with all that it imports, in a fresh process."""

    def run() -> float:
        command = [sys.executable, "-X", "importtime", "-c", f"import {name}"]
        trace = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        match = re.search(rf"\|\s+(\d+) \| {re.escape(name)}$", trace, re.MULTILINE)
        assert match
        return int(match[1]) / 1e6

    return run


if __name__ == "__main__":
    run_alone("client", measure, Sizes(), Sizes(rounds=2))
