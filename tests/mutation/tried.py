"""What tests say of a module, as it is and with one mistake in it; each in a process of its own.

Such a process is a copy of one that has collected the tests, in which the functions that exist get
the code of those with the mistake. A mistake outside of functions is there before anything is
imported, which takes a second longer.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib.machinery
import math
import os
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import pytest
from hypothesis import Phase, settings

from tests.mutation import forks
from tests.mutation.mutants import install, mutants_of
from tests.mutation.targets import Target

EXAMPLES = 8
TOO_LONG = 3.0  # seconds of computing: such a test is shown no mistakes
GIVEN_UP = math.inf  # seconds of a test that did not end in twice that
NOT_RUN = "not run"
PLUGINS = [
    "_hypothesis_pytestplugin",
    "pytest_asyncio.plugin",
    "pytest_rerunfailures",
    "pytest_timeout",
]
ARGUMENTS = [
    "-q",
    "-x",
    "--force-reruns=0",  # a mistake noticed by chance is noticed
    "-Wignore::pytest.PytestAssertRewriteWarning",  # plugins are there already
    "--timeout=0",  # of the clock; what computes for long is stopped by what it computes
    "--hypothesis-profile=mutation",
    *(f"-p{name}" for name in (*PLUGINS, "no:cacheprovider", "no:unraisableexception")),
]

Order = dict[str, float]  # seconds by test
Key = tuple[Path, int]  # a mutant: its module and its number there


@dataclass
class Timed:
    """How long tests computed, which ran which line, and what failed."""

    seconds: Order = field(default_factory=dict)
    lines: dict[tuple[Path, int], list[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def every(self) -> Order:
        """The tests that mistakes are shown to."""
        return {name: s for name, s in self.seconds.items() if s <= TOO_LONG}

    def selections(self, path: Path, line: int) -> list[Order]:
        """The tests to show a mistake in a line: those that run it, then all."""
        every = self.every
        names = self.lines.get((path, line), [])
        near = {name: every[name] for name in names if name in every}
        if not near:  # then the least long of those that take too long
            longer = {n: self.seconds[n] for n in names if self.seconds[n] < GIVEN_UP}
            return [{name: longer[name]} for name in sorted(longer, key=longer.__getitem__)[:1]]
        return [near, every] if len(near) < len(every) else [near]


def prepare() -> None:
    """Say how hypothesis works here: the same examples each time, and no search for shorter."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    settings.register_profile(
        "mutation",
        deadline=None,
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
    )


class Watching:
    """A plugin that runs tests in an order of its own, and notes how they do."""

    def __init__(self) -> None:
        self.timed = Timed()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.timed.failures.append(f"{report.nodeid} ({report.when})")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.timed.failures.append(f"{report.nodeid} (collect)")

    def run(self, items: list[pytest.Item]) -> Iterator[str]:
        """Run tests; gives the name of each before it runs."""
        for item, following in zip(items, [*items[1:], None], strict=True):
            yield item.nodeid
            before = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self.timed.seconds[item.nodeid] = time.process_time() - before

    def run_until_failure(self, items: list[pytest.Item], order: Order) -> str:
        """The first failure of tests, or ""; a test that computes for far too long ends all."""
        for name in self.run(items):
            if self.timed.failures:
                break
            _allow(10 + 5 * order[name])  # a fixture may be new to this process
        return self.timed.failures[0] if self.timed.failures else ""


class Host(Watching):
    """Collects the tests of some modules, then answers for each mutant what notices it."""

    def __init__(self, target: Target, chosen: list[Key], jobs: int, answer: Connection) -> None:
        super().__init__()
        self._paths = target.paths
        self._keys, self._jobs, self._out = chosen, jobs, answer
        self._items: list[pytest.Item] = []
        self._functions: dict[Path, list[FunctionType]] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of running the tests."""
        self._items = session.items
        self._functions = _functions_of(self._paths)
        gc.freeze()
        try:
            self.timed = forks.one(self._look, None)
        except EOFError:
            self.timed.failures.append("the tests did not end")
        self._out.send(self.timed)
        if not self.timed.failures:
            self._attempt_all()
        return True

    def _attempt_all(self) -> None:
        mutants = {path: mutants_of(ast.parse(path.read_text())) for path in self._paths}
        tasks = []
        for path, number in self._keys:
            orders = self.timed.selections(path, mutants[path][number].line)
            if orders:
                tasks.append(((path, number), [(path, number, order) for order in orders]))
            else:
                self._out.send(((path, number), NOT_RUN))
        for outcome in forks.many(self._attempt, tasks, self._jobs):
            self._out.send(outcome)

    def _look(self, _argument: None, answer: Connection) -> None:
        given_up = _GivenUp()
        signal.signal(signal.SIGPROF, given_up)
        names = [str(path.resolve()) for path in self._paths]
        measuring = coverage.Coverage(data_file=None, include=names, config_file=False)
        measuring.start()
        for name in self.run(self._items):
            measuring.switch_context(name)
            given_up.running = name
            signal.setitimer(signal.ITIMER_PROF, 2 * TOO_LONG)
        signal.setitimer(signal.ITIMER_PROF, 0)
        measuring.stop()
        self._forget(given_up.names)
        for path, name in zip(self._paths, names, strict=True):
            for line, tests in measuring.get_data().contexts_by_lineno(name).items():
                self.timed.lines[path, line] = [test for test in tests if test]
        answer.send(self.timed)

    def _forget(self, names: set[str]) -> None:
        """A test that was given up says nothing, whatever it ended with."""
        self.timed.seconds |= dict.fromkeys(names, GIVEN_UP)
        failures = self.timed.failures
        self.timed.failures = [each for each in failures if each.rpartition(" (")[0] not in names]

    def _attempt(self, argument: tuple[Path, int, Order], answer: Connection) -> None:
        path, number, order = argument
        codes = {}
        for code in _nested(_code_with(path, number)):
            codes[code.co_qualname, code.co_firstlineno] = code
        for function in self._functions[path]:
            old = function.__code__
            function.__code__ = codes[old.co_qualname, old.co_firstlineno]
        answer.send(self.run_until_failure(_chosen(self._items, order), order))


class TooLongError(Exception):
    """A test computes for longer than mistakes are worth."""


class _GivenUp:
    """Ends the test that runs when a signal comes, and keeps its name."""

    def __init__(self) -> None:
        self.running = ""
        self.names: set[str] = set()

    def __call__(self, _signal: int, _frame: object) -> None:
        self.names.add(self.running)
        raise TooLongError


class Fresh(Watching):
    """Runs some of the tests that are collected, the quickest first."""

    def __init__(self, order: Order) -> None:
        super().__init__()
        self._order = order

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of running all tests."""
        self.run_until_failure(_chosen(session.items, self._order), self._order)
        return True


def attempt_fresh(argument: tuple[Target, Path, int, Order], answer: Connection) -> None:
    """Run tests with a mistake that is there from the start; answers what failed, or ""."""
    target, path, number, order = argument
    _allow(30)  # for what is imported
    _pretend(path, _code_with(path, number))
    plugin = Fresh(order)
    files = sorted({name.split("::")[0] for name in order})
    status = 1
    with contextlib.suppress(BaseException):
        status = run_pytest(files, plugin, target)
    failed = plugin.timed.failures or ([f"pytest: {status}"] if status else [])
    answer.send(failed[0] if failed else "")


def run_pytest(tests: list[str], plugin: Watching, target: Target) -> int:
    """Run tests with a plugin; what they print goes to a file."""
    log = Path("build/mutation") / f"{target.name}.log"
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    first = ["-ptests.mutation.plain", "-knot compile"] if target.plain else []
    return int(pytest.main([*first, *ARGUMENTS, *tests], plugins=[plugin]))


def _allow(seconds: float) -> None:
    """Have this process ended when it has computed for so many seconds more."""
    limit = int(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _chosen(items: list[pytest.Item], order: Order) -> list[pytest.Item]:
    """The tests of an order, the quickest first, though those of a file one after the other."""
    chosen = [item for item in items if item.nodeid in order]
    quickest: dict[Path, float] = {}
    for item in chosen:
        seconds = order[item.nodeid]
        quickest[item.path] = min(quickest.get(item.path, seconds), seconds)
    return sorted(chosen, key=lambda i: (quickest[i.path], str(i.path), order[i.nodeid]))


def _functions_of(paths: list[Path]) -> dict[Path, list[FunctionType]]:
    found: dict[Path, list[FunctionType]] = {path: [] for path in paths}
    by_name = {str(path.resolve()): path for path in paths}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and "<" not in thing.__name__:
            path = by_name.get(thing.__code__.co_filename)
            if path is not None:
                found[path].append(thing)
    return found


def _code_with(path: Path, number: int) -> CodeType:
    """The code of a module with one mistake."""
    tree = ast.parse(path.read_text())
    install(tree, mutants_of(tree)[number])
    code: CodeType = compile(tree, str(path.resolve()), "exec", dont_inherit=True)
    return code


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _pretend(path: Path, code: CodeType) -> None:
    """Have Python find other code in a module's file."""
    target = str(path.resolve())
    loader = importlib.machinery.SourceFileLoader
    original = loader.get_code

    def get_code(self: importlib.machinery.SourceFileLoader, fullname: str) -> CodeType | None:
        return code if self.path == target else original(self, fullname)

    loader.get_code = get_code  # type: ignore[assignment,method-assign]
