"""The header of a KenLM binary: what kind of model follows, and how many n-grams it holds.

Layout (KenLM format version 5, little-endian x86-64): 88 bytes that must match to the bit, the
magic text and numbers that show byte order and word size; 20 bytes of parameters; one 64-bit count
an order; zeros up to a multiple of 8. Source: KenLM's lm/binary_format.cc.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import ModelFormatError

MAGIC = b"mmap lm http://kheafield.com/code"
FORMAT_VERSION = 5

_BEFORE_VERSION = MAGIC + b" format version "
_UNFINISHED = MAGIC + b" incomplete\n"
# Zero, one, minus a half; one, the largest word id, padding; one in 64 bits.
_TEST_VALUES = struct.pack("<3f3IQ", 0.0, 1.0, -0.5, 1, 0xFFFFFFFF, 0, 1)
_BIG_ENDIAN_TEST_VALUES = struct.pack(">3f3IQ", 0.0, 1.0, -0.5, 1, 0xFFFFFFFF, 0, 1)
# A 32-bit KenLM did not pad before the last number.
_TEST_VALUES_32_BIT = struct.pack("<3f2IQ", 0.0, 1.0, -0.5, 1, 0xFFFFFFFF, 1)
_TEST_VALUES_AT = 56
_PARAMETERS_AT = _TEST_VALUES_AT + len(_TEST_VALUES)
_PARAMETERS = struct.Struct("<B3xfiB3xI")  # order, multiplier, kind, has words, search version
_COUNTS_AT = _PARAMETERS_AT + _PARAMETERS.size


class Kind(IntEnum):
    """Model types by their number in the header."""

    PROBING = 0
    REST_PROBING = 1
    TRIE = 2
    QUANTIZED_TRIE = 3
    ARRAY_TRIE = 4
    QUANTIZED_ARRAY_TRIE = 5


_SEARCH_VERSIONS: dict[int, int] = {
    Kind.PROBING: 0,
    Kind.TRIE: 1,
    Kind.QUANTIZED_TRIE: 1,
    Kind.ARRAY_TRIE: 1,
    Kind.QUANTIZED_ARRAY_TRIE: 1,
}


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a readable file says."""

    kind: Kind
    probing_multiplier: float  # buckets of a hash table for each of its entries, at least 1
    has_words: bool
    counts: tuple[int, ...]  # n-grams by length, from 1

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.counts)

    @property
    def size(self) -> int:
        """Bytes from the start of the file to the vocabulary."""
        return _size(self.order)

    @classmethod
    def read(cls, file: NDArray[np.uint8], path: Path) -> Self:
        """Read and check a header; raises ModelFormatError naming what cannot be read."""
        _check_identity(file[:_PARAMETERS_AT].tobytes(), path)
        if len(file) < _COUNTS_AT:
            raise ModelFormatError(path, "the file ends within its KenLM header")
        parameters = file[_PARAMETERS_AT:_COUNTS_AT].tobytes()
        order, multiplier, kind, has_words, version = _PARAMETERS.unpack(parameters)
        # Padding is zero in every file; other bytes there mean that the header is damaged.
        if parameters != _PARAMETERS.pack(order, multiplier, kind, has_words, version):
            raise ModelFormatError(path, "the padding of the header is not zero")
        _check_parameters(path, order, multiplier, kind, has_words, version)
        counts = _read_counts(file, order, path)
        return cls(Kind(kind), multiplier, bool(has_words), counts)


def _size(order: int) -> int:
    return (_COUNTS_AT + 8 * order + 7) // 8 * 8


def _check_identity(identity: bytes, path: Path) -> None:
    expected_text = _BEFORE_VERSION + b"%d\n" % FORMAT_VERSION
    if identity == expected_text.ljust(_TEST_VALUES_AT, b"\0") + _TEST_VALUES:
        return
    raise ModelFormatError(path, _identity_problem(identity, expected_text))


def _identity_problem(identity: bytes, expected_text: bytes) -> str:
    if identity.startswith(_UNFINISHED):
        return "KenLM did not finish building this file"
    if not identity.startswith(MAGIC[: len(identity)]):
        return "not a KenLM binary: it does not begin with KenLM's magic text"
    if len(identity) < _PARAMETERS_AT:
        return "the file ends within its KenLM header"
    if not identity.startswith(expected_text):
        version = identity[len(_BEFORE_VERSION) : _TEST_VALUES_AT].split(b"\n")[0]
        return (
            f"KenLM binary of version {version.decode('ascii', 'replace')!r}, "
            f"but only version {FORMAT_VERSION} can be read"
        )
    return _test_value_problem(identity[_TEST_VALUES_AT:])


def _test_value_problem(test_values: bytes) -> str:
    if test_values == _BIG_ENDIAN_TEST_VALUES:
        return "KenLM binary from a big-endian machine; rebuild it from its ARPA file"
    if test_values.startswith(_TEST_VALUES_32_BIT):
        return "KenLM binary from a 32-bit KenLM; rebuild it from its ARPA file"
    return "the test values of the KenLM header are damaged, or of another architecture"


def _check_parameters(
    path: Path, order: int, multiplier: float, kind: int, has_words: int, version: int
) -> None:
    if kind == Kind.REST_PROBING:
        raise ModelFormatError(path, "KenLM binary with rest costs, which cannot be read")
    if kind not in _SEARCH_VERSIONS:
        raise ModelFormatError(path, f"unknown KenLM model type {kind}")
    if version != _SEARCH_VERSIONS[kind]:
        problem = f"{Kind(kind).name} data of version {version}, which cannot be read"
        raise ModelFormatError(path, problem)
    if order < 2:
        raise ModelFormatError(path, f"order {order}: KenLM binaries begin at order 2")
    if has_words not in {0, 1}:
        raise ModelFormatError(path, "the header's flag for stored words is neither 0 nor 1")
    if not (math.isfinite(multiplier) and multiplier >= 1):
        raise ModelFormatError(path, f"impossible probing multiplier {multiplier}")


def _read_counts(file: NDArray[np.uint8], order: int, path: Path) -> tuple[int, ...]:
    end = _size(order)
    if len(file) < end:
        raise ModelFormatError(path, "the file ends within its KenLM header")
    counts = struct.unpack(f"<{order}Q", file[_COUNTS_AT : _COUNTS_AT + 8 * order].tobytes())
    if file[_COUNTS_AT + 8 * order : end].any():
        raise ModelFormatError(path, "the padding of the header is not zero")
    # A stored n-gram takes a bit at least, so no count can pass the number of bits in the file.
    if max(counts) > 8 * len(file):
        raise ModelFormatError(path, f"n-gram counts {counts} are more than the file can hold")
    return counts
