"""Hashes, tables, sorted numbers and pointers, by which KenLM's files are looked up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmscore.models.errors import ModelFormatError
from lmscore.models.kenlm.binary import KenlmBinary
from lmscore.models.kenlm.hash_table import take_buckets
from lmscore.models.kenlm.hashing import hash_words
from lmscore.models.kenlm.model import KenlmModel
from lmscore.models.kenlm.probing import ProbingTables
from lmscore.models.kenlm.sections import Sections
from lmscore.models.kenlm.spans import split_words
from lmscore.models.kenlm.trie_layout import TrieTables
from lmscore.models.kenlm.word_hashes import SortedWords, find_ids
from lmscore.models.language_model import ScoreBatch, Texts

FIXTURES = Path(__file__).parent / "fixtures"
MULTIPLIER = 0xC6A4A7935BD1E995


def murmur(word: bytes) -> int:
    """MurmurHash64A with seed 0, as its author describes it."""
    value = len(word) * MULTIPLIER % 2**64
    whole = len(word) // 8 * 8
    for i in range(0, whole, 8):
        part = int.from_bytes(word[i : i + 8], "little") * MULTIPLIER % 2**64
        part = (part ^ part >> 47) * MULTIPLIER % 2**64
        value = (value ^ part) * MULTIPLIER % 2**64
    if word[whole:]:
        value = (value ^ int.from_bytes(word[whole:], "little")) * MULTIPLIER % 2**64
    value = (value ^ value >> 47) * MULTIPLIER % 2**64
    return value ^ value >> 47


@given(st.lists(st.binary(max_size=30), max_size=10), st.binary(max_size=10))
@example([b"x" * size for size in range(26)], b"")
@example([b"\xff" * size for size in range(26)], b"behind")
def test_words_are_hashed_by_murmur_wherever_they_stand(words: list[bytes], rest: bytes) -> None:
    ends = np.cumsum([len(word) for word in words], dtype=np.int64)
    begins = ends - np.array([len(word) for word in words], np.int64)
    data = np.frombuffer(b"".join(words) + rest, np.uint8)

    assert hash_words(data, begins, ends).tolist() == [murmur(word) for word in words]


@pytest.mark.parametrize(
    ("entries", "multiplier", "buckets"),
    [(0, 1.5, 1), (1, 1.5, 2), (3, 1.1, 4), (4, 1.5, 6), (30, 2.5, 75), (10, 1.3, 13)],
)
def test_a_table_has_as_many_buckets_as_kenlm_gives_it(
    entries: int, multiplier: float, buckets: int
) -> None:
    sections = Sections(np.zeros(12 * buckets + 5, np.uint8), Path("some.bin"), 5)
    multiplier = float(np.float32(multiplier))

    assert take_buckets(sections, "words", entries, multiplier, 12) == (5, buckets)
    assert sections.position == 12 * buckets + 5


def test_a_table_that_is_longer_than_the_file_is_refused() -> None:
    sections = Sections(np.zeros(71, np.uint8), Path("some.bin"), 0)

    with pytest.raises(ModelFormatError, match="has 71 bytes, but its words need 72"):
        take_buckets(sections, "words", 4, 1.5, 12)


numbers = st.integers(1, 2**64 - 2)
uneven = st.integers(0, 63).map(lambda power: 1 << power)


@given(st.lists(numbers | uneven, max_size=80), st.lists(numbers | uneven, max_size=5))
@example([1 << power for power in range(64)], [3, 1023, 2**63 + 1])
@example([2**64 - 2 - (1 << power) for power in range(62)], [1, 2**64 - 2])
@example([*range(1, 70), 2**63], [70, 2**63 - 1])
def test_numbers_are_found_however_unevenly_they_are_spread(
    stored: list[int], others: list[int]
) -> None:
    hashes = sorted({*stored})
    sought = [*hashes, *others]

    found = find_ids(
        SortedWords(len(hashes) + 1, np.array(hashes, np.uint64)), np.array(sought, np.uint64)
    )

    ids = {number: i for i, number in enumerate(hashes, 1)}
    assert found.tolist() == [ids.get(number, 0) for number in sought]


@given(st.lists(st.binary(max_size=30), max_size=6))
@example([b"ab", b" c\0", b"", b"\t\n\r ", b"\x01\x1f\x0b words of\x0beight   bytes"])
def test_words_are_what_stands_between_five_bytes(texts: list[bytes]) -> None:
    offsets = np.cumsum([0, *map(len, texts)])
    data = np.frombuffer(b"".join(texts), np.uint8)

    words = split_words(Texts(data, offsets))

    for i, text in enumerate(texts):
        own = slice(words.offsets[i], words.offsets[i + 1])
        found = [
            data[b:e].tobytes() for b, e in zip(words.begins[own], words.ends[own], strict=True)
        ]
        blank = bytes.maketrans(b"\0\t\n\r", b"    ")
        assert found == [word for word in text.translate(blank).split(b" ") if word]


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


@pytest.mark.parametrize("kind", ["probing", "trie_wordless", "quantized", "quantized_array"])
def test_a_file_cut_short_is_refused(kind: str) -> None:
    original = np.fromfile(FIXTURES / f"plain.{kind}.bin", np.uint8)

    for size in range(1, len(original), 1 if len(original) < 4000 else 61):
        with pytest.raises(ModelFormatError):
            KenlmBinary.read(original[:size], Path("some.bin"))
    assert KenlmBinary.read(original, Path("some.bin")).size == len(original)
