"""Mutants are other programs, of each kind that is promised; what is no behaviour has none."""

from __future__ import annotations

import ast
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.mutation import forks
from tests.mutation.mutants import install, mutants_of
from tests.mutation.targets import TARGETS


def texts(source: str) -> list[str]:
    return [mutant.text for mutant in mutants_of(ast.parse(source))]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b <= c", ["a < b <= c → a <= b <= c", "a < b <= c → a < b < c"]),
        ("a is b", ["a is b → a is not b"]),
        ("a and b", ["a and b → a or b"]),
        ("not a", ["not a → a"]),
        ("a << b", ["a << b → a >> b"]),
        ("a // b", ["a // b → a * b"]),
        ("a += b", ["a += b → a -= b"]),
        ("7", ["7 → 8"]),
        ("True", ["True → False"]),
        ("f(a)", ["f(a) → pass"]),
        ("a if b else c", ["a if b else c → a if not b else c"]),
        ("def f():\n return a", ["return a → return None"]),
        ("while a:\n break", ["break → continue"]),
        ("if a:\n b", ["if a: b → if not a: b"]),
    ],
)
def test_each_kind_of_mistake_is_made(source: str, expected: list[str]) -> None:
    assert texts(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"words"',
        "a: NDArray[1]",
        "@decorator(1)\ndef f(): ...",
        "def f(a: Literal[1]) -> Literal[2]: ...",
        "raise ValueError(1)",
        "assert a == 1",
        'f"{a:.2f}"',
        "prefetch(a, b + 1)",
        "super().__init__()",
        "a: int | None",
        "def f():\n return None",
    ],
)
def test_what_is_no_behaviour_is_left_alone(source: str) -> None:
    assert texts(source) == []


def test_a_mutant_says_where_it_is() -> None:
    source = (
        "class A:\n    def f(self, a=1):\n        return a\n\n@kernel\ndef g():\n    b = 1\nc = 1\n"
    )
    default, returned, compiled, last = mutants_of(ast.parse(source))

    assert [m.where for m in (default, returned, compiled, last)] == ["A.f", "A.f", "g", ""]
    assert [m.line for m in (default, returned, compiled, last)] == [2, 3, 7, 8]
    assert [m.late for m in (default, returned, compiled, last)] == [False, True, True, False]
    assert [m.compiled for m in (default, returned, compiled, last)] == [False, False, True, False]


def test_every_mutant_is_a_program_of_its_own() -> None:
    source = Path("models/lmscore/models/measures.py").read_text()
    programs = {ast.unparse(ast.parse(source))}
    count = len(mutants_of(ast.parse(source)))
    for number in range(count):
        tree = ast.parse(source)
        install(tree, mutants_of(tree)[number])
        compile(tree, "measures.py", "exec")
        programs.add(ast.unparse(tree))

    assert count > 50
    assert len(programs) == count + 1


def test_the_modules_and_tests_of_the_table_are_there() -> None:
    assert all(path.is_file() for target in TARGETS for path in target.paths)
    assert all(Path(test).is_file() for target in TARGETS for test in target.tests)


def test_a_task_that_ends_never_is_told_as_such_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forks, "CLOCK", 1.5)
    tasks = [("asleep", [600.0]), ("awake", [0.0])]

    found = dict(forks.many(_sleep, tasks, jobs=1))

    assert found == {"asleep": "no end, or a crash", "awake": "slept"}


def _sleep(seconds: float, answer: Connection) -> None:
    time.sleep(seconds)
    answer.send("slept")
