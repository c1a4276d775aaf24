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
from tests.mutation.tried import (
    NOT_RUN,
    PLUGINS,
    Host,
    Key,
    Timed,
    attempt_fresh,
    prepare,
    run_pytest,
)

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
    """The mutants of some modules, and what notices them."""

    def __init__(self, target: Target, jobs: int) -> None:
        self._target, self._jobs = target, jobs
        self.mutants: dict[Key, Mutant] = {}
        for path in target.paths:
            for number, mutant in enumerate(mutants_of(ast.parse(path.read_text()))):
                if target.plain or not mutant.compiled:
                    self.mutants[path, number] = mutant
        self._timed = Timed()

    def run(self, keys: list[Key]) -> Iterator[tuple[Key, str]]:
        """Key and killer of each mutant."""
        yield from self._run_late([key for key in keys if self.mutants[key].late])
        every = self._timed.every
        early = [key for key in keys if not self.mutants[key].late]
        tasks = [(key, [(self._target, *key, every)]) for key in early]
        yield from forks.many(attempt_fresh, tasks, self._jobs)

    def _run_late(self, keys: list[Key]) -> Iterator[tuple[Key, str]]:
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_host, args=(self._target, keys, self._jobs, sender))
        process.start()
        sender.close()
        try:
            self._timed = receiver.recv()
            if self._timed.failures:
                raise TestsFailError(self._timed.failures)
            for _ in keys:
                yield receiver.recv()
        except EOFError:
            if not self._timed.seconds:
                raise TestsFailError("they could not be collected") from None
            raise
        finally:
            process.join()


def _host(target: Target, keys: list[Key], jobs: int, answer: Connection) -> None:
    run_pytest(target.tests, Host(target, keys, jobs, answer), target)
    answer.close()
    os._exit(0)


def _read(path: Path) -> dict[tuple[str, str, str], Outcome]:
    known = {}
    if path.exists():
        for line in path.read_text().splitlines():
            outcome = Outcome(**json.loads(line))
            known[outcome.module, outcome.where, outcome.text] = outcome
    return known


def _wanted(trial: Trial, arguments: argparse.Namespace) -> list[Key]:
    """Those whose outcome is not known."""
    by_path: dict[Path, list[Key]] = {}
    for key in trial.mutants:
        if not arguments.modules or any(name in str(key[0]) for name in arguments.modules):
            by_path.setdefault(key[0], []).append(key)
    keys = []
    for those in by_path.values():
        count = min(arguments.sample or len(those), len(those))
        keys += sorted(random.Random(1).sample(those, count), key=lambda key: key[1])
    known = _read(arguments.output)

    def wanted(key: Key) -> bool:
        mutant = trial.mutants[key]
        outcome = known.get((str(key[0]), mutant.where, mutant.text))
        return outcome is None or (arguments.again and outcome.kind != "killed")

    return [key for key in keys if wanted(key)]


def _try(target: Target, arguments: argparse.Namespace, output: TextIO) -> None:
    trial = Trial(target, arguments.jobs)
    wanted = _wanted(trial, arguments)
    if not wanted:
        return
    print(f"{target.name}: {len(wanted)} of {len(trial.mutants)} mutants", flush=True)
    counts = Counter[str]()
    began = time.monotonic()
    for key, killer in trial.run(wanted):
        mutant = trial.mutants[key]
        outcome = Outcome(str(key[0]), mutant.line, mutant.where, mutant.text, killer)
        output.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
        output.flush()
        counts[outcome.kind] += 1
        if outcome.kind != "killed":
            print(f"  {key[0]}:{mutant.line}: {mutant.text}  [{outcome.kind}]", flush=True)
    print(f"{target.name}: {dict(counts)} in {time.monotonic() - began:.0f} s", flush=True)


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
    targets = [
        target
        for target in TARGETS
        if not names or any(name in str(path) for name in names for path in target.paths)
    ]
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
                print(f"{target.name}: the tests fail without any mistake: {error}", flush=True)


if __name__ == "__main__":
    main()
