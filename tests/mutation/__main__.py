"""Try tests: `python -m tests.mutation [MODULE...]` makes mistakes and says which nobody noticed.

A mistake is first shown to the tests that run its line, then, if none fails, to all tests that the
table in targets.py gives its module.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

from tests.mutation import forks
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.targets import TARGETS, Target
from tests.mutation.tried import NOT_RUN, PLUGINS, Host, Timed, attempt_fresh, prepare, run_pytest

LONG_TO_IMPORT = [
    *("google.rpc.status_pb2", "grpc", "hypothesis.extra.numpy", "hypothesis.strategies", "numba"),
    *("numba.core.registry", "numpy.testing", "pydantic", "safetensors.torch", "scipy.stats"),
    *("sentencepiece", "tokenizers", "torch"),
]


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant; an empty killer: nothing noticed it."""

    module: str
    line: int
    where: str
    text: str
    killer: str

    @property
    def kind(self) -> str:
        """In a word."""
        return "survived" if not self.killer else NOT_RUN if self.killer == NOT_RUN else "killed"


class TestsFailError(Exception):
    """Tests fail without any mistake."""


class Trial:
    """The mutants of one module, and what notices them."""

    def __init__(self, target: Target, jobs: int) -> None:
        self._target, self._jobs = target, jobs
        self.mutants = mutants_of(ast.parse(target.path.read_text()))
        self._timed = Timed()

    def run(self, numbers: list[int]) -> Iterator[tuple[int, str]]:
        """Number and killer of each mutant."""
        yield from self._run_late([n for n in numbers if self.mutants[n].late])
        every = self._timed.selections(0, all_run=True)
        tasks = [
            (n, [(self._target, n, order) for order in every])
            for n in numbers
            if not self.mutants[n].late
        ]
        yield from forks.many(attempt_fresh, tasks, self._jobs)

    def _run_late(self, numbers: list[int]) -> Iterator[tuple[int, str]]:
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        arguments = (self._target, numbers, self._jobs, sender)
        process = context.Process(target=_host, args=arguments)
        process.start()
        sender.close()
        try:
            self._timed = receiver.recv()
            if self._timed.failures:
                raise TestsFailError(self._timed.failures)
            while True:
                yield receiver.recv()
        except EOFError:
            if not self._timed.seconds:
                raise TestsFailError("they could not be collected") from None
        finally:
            process.join()


def _host(target: Target, numbers: list[int], jobs: int, answer: Connection) -> None:
    run_pytest(target.tests, Host(target, numbers, jobs, answer), target)
    answer.close()
    os._exit(0)


def _read(path: Path) -> dict[tuple[str, str, str], Outcome]:
    known = {}
    if path.exists():
        for line in path.read_text().splitlines():
            outcome = Outcome(**json.loads(line))
            known[outcome.module, outcome.where, outcome.text] = outcome
    return known


def _wanted(mutants: list[Mutant], module: str, arguments: argparse.Namespace) -> list[int]:
    """Those whose outcome is not known."""
    numbers = list(range(len(mutants)))
    if arguments.sample:
        numbers = sorted(random.Random(1).sample(numbers, min(arguments.sample, len(numbers))))
    known = _read(arguments.output)

    def wanted(mutant: Mutant) -> bool:
        outcome = known.get((module, mutant.where, mutant.text))
        return outcome is None or (arguments.again and outcome.kind != "killed")

    return [n for n in numbers if wanted(mutants[n])]


def _try(target: Target, arguments: argparse.Namespace, output: TextIO) -> None:
    trial = Trial(target, arguments.jobs)
    module = str(target.path)
    wanted = _wanted(trial.mutants, module, arguments)
    if not wanted:
        return
    print(f"{module}: {len(wanted)} of {len(trial.mutants)} mutants", flush=True)
    counts = Counter[str]()
    began = time.monotonic()
    for number, killer in trial.run(wanted):
        mutant = trial.mutants[number]
        outcome = Outcome(module, mutant.line, mutant.where, mutant.text, killer)
        output.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
        output.flush()
        counts[outcome.kind] += 1
        if outcome.kind != "killed":
            print(f"  {mutant.line}: {mutant.text}  [{outcome.kind}]", flush=True)
    print(f"{module}: {dict(counts)} in {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="parts of paths; all of targets.py if none")
    parser.add_argument("--sample", type=int, help="mutants of each module, drawn always alike")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="show survivors to the tests again")
    parser.add_argument("--output", type=Path, default=Path("build/mutation/outcomes.jsonl"))
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    Path("build/mutation").mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    names = arguments.modules
    targets = [t for t in TARGETS if not names or any(name in str(t.path) for name in names)]
    if not targets:
        sys.exit("no such module in tests/mutation/targets.py")
    for name in (*LONG_TO_IMPORT, *PLUGINS):
        importlib.import_module(name)
    prepare()
    with arguments.output.open("a") as output:
        for target in targets:
            try:
                _try(target, arguments, output)
            except TestsFailError as error:
                print(f"{target.path}: the tests fail without any mistake: {error}", flush=True)


if __name__ == "__main__":
    main()
