"""Damaged files: an error or some score, never a crash, a read out of bounds or an endless loop."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

# Some seconds of work, of which other work on the machine can make minutes. What hangs is found.
pytestmark = pytest.mark.timeout(600)

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
ALL = sorted(path.name for path in FIXTURES.glob("*.bin"))
KINDS = [name.split(".")[1] for name in ALL]  # several files may be of one
# Of each kind; damage.py can be given more.
FLIPS = {name: 1000 // KINDS.count(name.split(".")[1]) for name in ALL}
TRUNCATED = [
    "bigrams.probing.bin",
    "plain.trie_wordless.bin",
    "plain.quantized.bin",
    "plain.array.bin",
    "plain.quantized_array.bin",
]


@functools.cache  # a process for all files: it starts for longer than it takes for one
def outcomes(how: str, *files: str) -> dict[str, tuple[int, int, int]]:
    """How many damaged copies were refused, could be scored with, and scored as the original."""
    command = [sys.executable, str(HERE / "damage.py"), how, *files]
    ended = subprocess.run(command, cwd=FIXTURES, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = (line.split() for line in ended.stdout.splitlines())
    return {name: (int(refused), int(scored), int(same)) for name, refused, scored, same in rows}


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_file_truncated_at_any_byte_is_refused(name: str) -> None:
    refused, scored, _ = outcomes("truncate", *TRUNCATED)[name]

    assert refused == (FIXTURES / name).stat().st_size
    assert scored == 0


@pytest.mark.parametrize("name", ALL)
def test_a_changed_header_is_refused_unless_it_means_the_same(name: str) -> None:
    refused, scored, same = outcomes("header", *ALL)[name]

    assert scored == same  # other multipliers may give the same number of buckets
    assert refused > 30 * scored


@pytest.mark.parametrize("name", ALL)
def test_random_damage_neither_crashes_nor_hangs(name: str) -> None:
    refused, scored, _ = outcomes("flip", *(f"{FLIPS[name]}:{name}" for name in ALL))[name]

    assert refused + scored == FLIPS[name]
    assert refused > 0
    assert scored > 0
