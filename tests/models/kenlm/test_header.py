from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from lmscore.models.errors import ModelFormatError, ModelNotFoundError
from lmscore.models.kenlm.binary import KenlmBinary
from lmscore.models.kenlm.header import Header, Kind

FIXTURES = Path(__file__).parent / "fixtures"
TRIE = (FIXTURES / "plain.trie.bin").read_bytes()
PROBING = (FIXTURES / "plain.probing.bin").read_bytes()


def header_of(name: str) -> Header:
    return Header.read(np.fromfile(FIXTURES / name, np.uint8), FIXTURES / name)


def with_bytes(original: bytes, at: int, replacement: bytes) -> bytes:
    return original[:at] + replacement + original[at + len(replacement) :]


def problem_of(content: bytes) -> str:
    with pytest.raises(ModelFormatError) as refusal:
        KenlmBinary.read(np.frombuffer(content, np.uint8), Path("some.bin"))
    assert str(refusal.value).startswith("some.bin: ")
    return refusal.value.problem


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("plain.probing.bin", Kind.PROBING),
        ("plain.trie.bin", Kind.TRIE),
        ("plain.quantized.bin", Kind.QUANTIZED_TRIE),
        ("plain.array.bin", Kind.ARRAY_TRIE),
        ("plain.quantized_array.bin", Kind.QUANTIZED_ARRAY_TRIE),
    ],
)
def test_the_header_tells_the_kind_and_the_counts(name: str, kind: Kind) -> None:
    header = header_of(name)

    assert header.kind is kind
    assert header.counts == (30, 90, 132, 144)
    assert header.has_words


def test_the_header_tells_whether_words_are_stored() -> None:
    assert not header_of("plain.trie_wordless.bin").has_words


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\\data\\\nngram 1=1\n", "not a KenLM binary"),
        (TRIE[:20], "ends within its KenLM header"),
        (TRIE[:100], "ends within its KenLM header"),
        (TRIE[:120], "ends within its KenLM header"),
        (TRIE.replace(b"version 5", b"version 4"), "version '4'"),
        (b"mmap lm http://kheafield.com/code incomplete\n" + bytes(500), "did not finish"),
        (with_bytes(TRIE, 56, struct.pack(">3f3IQ", 0, 1, -0.5, 1, 2**32 - 1, 0, 1)), "big-endian"),
        (with_bytes(TRIE, 56, struct.pack("<3f2IQ", 0, 1, -0.5, 1, 2**32 - 1, 1)), "32-bit"),
        (with_bytes(TRIE, 60, b"\1"), "test values"),
        (with_bytes(PROBING, 96, b"\1"), "rest costs"),
        (with_bytes(TRIE, 96, b"\6"), "unknown KenLM model type 6"),
        (with_bytes(TRIE, 104, b"\2"), "TRIE data of version 2"),
        (with_bytes(TRIE, 88, b"\0"), "order 0"),
        (with_bytes(TRIE, 88, b"\1"), "order 1"),
        (with_bytes(TRIE, 100, b"\2"), "neither 0 nor 1"),
        (with_bytes(TRIE, 101, b"\1"), "padding"),
        (with_bytes(TRIE, 92, struct.pack("<f", 0.5)), "multiplier 0.5"),
        (with_bytes(TRIE, 92, struct.pack("<f", float("nan"))), "multiplier nan"),
        (with_bytes(PROBING, 92, struct.pack("<f", 3e38)), "cannot hold"),
        (with_bytes(PROBING, 116, struct.pack("<Q", 2**64 - 1)), "more than the file can hold"),
        (with_bytes(TRIE, 116, struct.pack("<Q", 2**63 + 90)), "more than the file can hold"),
        (PROBING[:-1], "words at the end"),
        (TRIE + b"x", "words at the end"),
        (TRIE + b"x\0", "31 words at the end"),
        ((FIXTURES / "plain.trie_wordless.bin").read_bytes() + b"\0", "1 bytes follow"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(content: bytes, expected: str) -> None:
    assert expected in problem_of(content)


def test_a_file_that_is_absent_or_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.bin").touch()

    with pytest.raises(ModelNotFoundError):
        KenlmBinary.open(tmp_path / "absent.bin")
    with pytest.raises(ModelFormatError, match="empty"):
        KenlmBinary.open(tmp_path / "empty.bin")
