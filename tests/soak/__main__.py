"""Proves that servers hold: ``python -m tests.soak [--seconds 180] [--json FILE]``.

Everything runs on this machine and ends by itself. The exit code is 1 if an answer was wrong or
lost, or if anything else was not as it must be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.soak.parts import PARTS, Plan
from tests.soak.report import Tally, show, write_json

USUAL_SECONDS = 180.0
USUAL_REQUESTS = 100_000  # of invalid input, in a run of that length


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=USUAL_SECONDS, help="of all, about")
    parser.add_argument("--clients", type=int, default=200, help="at the same time")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    parser.add_argument(
        "--requests", type=int, help=f"of invalid input; by default {USUAL_REQUESTS} in 180 seconds"
    )
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only this one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    return parser.parse_args()


def main() -> int:
    """Run the parts, show what they have seen, and give the exit code."""
    arguments = _arguments()
    requests = arguments.requests
    if requests is None:
        requests = round(USUAL_REQUESTS * arguments.seconds / USUAL_SECONDS)
    tallies: list[Tally] = []
    console = Console() if sys.stdout.isatty() else Console(width=120)  # for logs and files
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(Path(folder), arguments.seconds, arguments.clients, requests, arguments.seed)
        for name in arguments.part or PARTS:
            console.print(f"{name} ...")
            tallies.append(PARTS[name](plan))
    show(tallies, console)
    if arguments.json is not None:
        write_json(tallies, arguments.json)
    return 1 if any(tally.problems for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
