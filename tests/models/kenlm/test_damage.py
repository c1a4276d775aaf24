"""Damaged files: an error or some score, never a crash, a read out of bounds or an endless loop."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmscore.models.errors import ModelFormatError
from lmscore.models.kenlm.binary import KenlmBinary
from lmscore.models.kenlm.model import KenlmModel
from lmscore.models.kenlm.probing import ProbingTables
from lmscore.models.kenlm.trie_layout import TrieTables
from lmscore.models.language_model import ScoreBatch, Texts

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


@pytest.mark.parametrize(
    "name", ["plain.trie", "plain.quantized", "plain.array", "plain.quantized_array"]
)
def test_a_level_that_ends_elsewhere_than_the_header_says_is_refused(name: str) -> None:
    original = (FIXTURES / f"{name}.bin").read_bytes()
    tables = KenlmBinary.read(np.frombuffer(original, np.uint8), Path("some.bin")).tables
    assert isinstance(tables, TrieTables)
    counts = [30, *tables.levels["count"].tolist()]
    # Where the last pointer of each level is, in bits: that of the unigrams, and of longer n-grams.
    pointers = [(8 * (tables.unigrams + 16 * counts[0] + 8), 64)]
    for level in tables.levels[:-1]:
        end = level["begin"] + (level["count"] + 1) * level["record_bits"]
        pointers.append((int(end - level["pointer_bits"]), int(level["pointer_bits"])))

    for length, (bit, bits) in enumerate(pointers, 2):
        whole = int.from_bytes(original, "little")
        stored = (whole >> bit) % 2**bits
        assert stored > 0
        damaged = (whole - (1 << bit)).to_bytes(len(original), "little")
        count = counts[length - 1]
        expected = f"the {length}-grams end at {count - 1} by their pointers, at {count} by the"
        with pytest.raises(ModelFormatError, match=expected):
            KenlmBinary.read(np.frombuffer(damaged, np.uint8), Path("some.bin"))


def test_hash_tables_without_an_empty_bucket_end_every_search() -> None:
    file = np.fromfile(FIXTURES / "plain.probing.bin", np.uint8)
    tables = KenlmBinary.read(file, Path("full.bin")).tables
    assert isinstance(tables, ProbingTables)
    tables.file[tables.begins[0] :] |= 1

    model = KenlmModel(KenlmBinary.read(file, Path("full.bin")))
    scores = model.score(ScoreBatch(Texts.from_strings(["the boat left the harbour"])))

    assert scores.token_counts.tolist() == [6]
