"""Where the parts of a KenLM trie are. Source: KenLM's lm/trie.cc, lm/bhiksha.cc, lm/quantize.hh.

After the vocabulary stand, with quantization, 8 bytes (version, bits of a probability, bits of a
back-off) and the tables of values that these stand for; the unigrams, 16 bytes each (probability,
back-off, where its bigrams begin), with two more to end them; and for each length from 2, a level,
a bit-packed array of records in the order of their n-grams read backwards. A record below the top
level is (word, values, where its children begin), at the top (word, probability). The children of
an n-gram are the n-grams one word longer that end with it.

With array compression the high bits of a level's pointers are taken out: entry h of its array is
the first record whose pointer has the high bits h.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import ModelFormatError
from lmscore.models.kenlm.header import Header, Kind
from lmscore.models.kenlm.sections import Sections

UNIGRAM_BYTES = 16
_QUANTIZATION_VERSION = 2
_ARRAY_VERSION = 0
_MOST_VALUE_BITS = 25
_WHOLE_PROB_BITS = 31  # a float without its sign: it is negative
_WHOLE_BACKOFF_BITS = 32

LEVEL = np.dtype(
    [
        ("begin", np.int64),  # bit of the file where the first record begins
        ("count", np.int64),  # records
        ("children", np.int64),  # records of the next level; 0 at the top
        ("record_bits", np.int64),
        ("pointer_bits", np.int64),  # kept in the record
        ("array", np.int64),  # of the pointers' high bits, in units of 8 bytes
        ("array_size", np.int64),  # entries; 0 where pointers are whole
        ("prob_table", np.int64),  # in units of 4 bytes
        ("backoff_table", np.int64),
    ]
)


class TrieTables(NamedTuple):
    """Where everything is."""

    file: NDArray[np.uint8]
    floats: NDArray[np.float32]  # the same memory
    integers: NDArray[np.uint64]  # the same memory
    unigrams: int  # in bytes
    word_bits: int
    prob_bits: int  # 0: values are whole, not quantized
    backoff_bits: int
    levels: NDArray[np.void]  # (order - 1,) LEVEL, from bigrams


class _Quantization(NamedTuple):
    prob_bits: int
    backoff_bits: int
    tables: list[tuple[int, int]]  # of probabilities and back-offs, by level, in bytes


def read_tables(sections: Sections, header: Header) -> TrieTables:
    """Locate the parts after the vocabulary."""
    quantized = header.kind in {Kind.QUANTIZED_TRIE, Kind.QUANTIZED_ARRAY_TRIE}
    compressed = header.kind in {Kind.ARRAY_TRIE, Kind.QUANTIZED_ARRAY_TRIE}
    if quantized:
        values = _read_quantization(sections, header.order)
    else:
        values = _Quantization(0, 0, [(0, 0)] * (header.order - 1))
    # One more in case the ARPA file had no <unk>, and one to end the last.
    unigrams = sections.take(UNIGRAM_BYTES * (header.counts[0] + 2), "unigrams")
    most_taken = _read_most_taken(sections) if compressed and header.order > 2 else None
    levels = np.zeros(header.order - 1, LEVEL)
    for i in range(header.order - 1):
        _read_level(sections, header, values, most_taken, levels, i)
    file = sections.file
    return TrieTables(
        file,
        file[: len(file) // 4 * 4].view(np.float32),
        file[: len(file) // 8 * 8].view(np.uint64),
        unigrams,
        _word_bits(header),
        values.prob_bits,
        values.backoff_bits,
        levels,
    )


def _word_bits(header: Header) -> int:
    return header.counts[0].bit_length()


def _read_quantization(sections: Sections, order: int) -> _Quantization:
    what = "tables of quantized values"
    version, prob_bits, backoff_bits = (sections.byte(i, what) for i in range(3))
    if version != _QUANTIZATION_VERSION:
        raise ModelFormatError(sections.path, f"quantization of unknown version {version}")
    if not (1 <= prob_bits <= _MOST_VALUE_BITS and 1 <= backoff_bits <= _MOST_VALUE_BITS):
        problem = f"values quantized to {prob_bits} and {backoff_bits} bits; 1 to 25 are possible"
        raise ModelFormatError(sections.path, problem)
    sections.take(8, what)
    tables = []
    for level in range(order - 1):
        top = level == order - 2
        probs = sections.take(4 << prob_bits, what)
        tables.append((probs, 0 if top else sections.take(4 << backoff_bits, what)))
    return _Quantization(prob_bits, backoff_bits, tables)


def _read_most_taken(sections: Sections) -> int:
    what = "compressed pointers"
    version, most_taken = (sections.byte(i, what) for i in range(2))
    if version != _ARRAY_VERSION:
        raise ModelFormatError(sections.path, f"pointer compression of unknown version {version}")
    return most_taken


def _read_level(
    sections: Sections,
    header: Header,
    values: _Quantization,
    most_taken: int | None,
    levels: NDArray[np.void],
    i: int,
) -> None:
    """Fill in levels[i]; most_taken is the most bits an array may hold, None without arrays."""
    name = f"{i + 2}-grams"
    count = header.counts[i + 1]
    top = i == len(levels) - 1
    children = 0 if top else header.counts[i + 2]
    pointer_bits = children.bit_length()
    array = array_size = 0
    if most_taken is not None and not top:
        pointer_bits -= _bits_taken(count + 1, children, most_taken)
        array_size = (children >> pointer_bits) + 1
        # A version number, and up to 7 bytes before it to align the array.
        array = (sections.take(8 * (1 + array_size) + 7, name) + 7) // 8 + 1
    if values.prob_bits:
        value_bits = values.prob_bits + (0 if top else values.backoff_bits)
    else:
        value_bits = _WHOLE_PROB_BITS + (0 if top else _WHOLE_BACKOFF_BITS)
    record_bits = _word_bits(header) + value_bits + pointer_bits
    # One record more ends the last; 8 bytes more let 64 bits be read at any record.
    begin = sections.take(((count + 1) * record_bits + 7) // 8 + 8, name)
    prob_table, backoff_table = values.tables[i]
    levels[i] = (
        8 * begin,
        count,
        children,
        record_bits,
        pointer_bits,
        array,
        array_size,
        prob_table // 4,
        backoff_table // 4,
    )


def _bits_taken(records: int, highest: int, most: int) -> int:
    """The number of high bits whose array costs least, against what it saves in the records."""
    width = highest.bit_length()
    return min(
        range(min(width, most) + 1),
        key=lambda taken: (highest >> (width - taken)) * 64 - records * taken,
    )
