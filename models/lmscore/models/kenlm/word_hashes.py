"""From a word to its id, by the hashes that a KenLM binary stores in place of words.

A probing file holds 8 bytes (version, number of words) and a hash table of (hash, id), 12 bytes a
bucket; a trie file the number of words less one and their hashes in ascending order, whose rank
from 1 is the id. ``<unk>`` is 0 and in neither. Source: KenLM's lm/vocab.cc.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import ZERO, i64, inline, kernel, prefetch, u64
from lmscore.models.errors import ModelFormatError
from lmscore.models.kenlm.hash_table import KEY_BYTES, HashTable, find, home, take_buckets
from lmscore.models.kenlm.header import Header, Kind
from lmscore.models.kenlm.interpolation import next_pivot
from lmscore.models.kenlm.sections import Sections

UNK_ID = 0
_BUCKET_BYTES = KEY_BYTES + 4  # hash, id
_BLOCK = 32  # words whose look-ups wait for memory together


class HashedWords(NamedTuple):
    """The vocabulary of a probing file."""

    size: int  # words, ``<unk>`` included
    numbers: NDArray[np.uint32]  # the file
    table: HashTable


class SortedWords(NamedTuple):
    """The vocabulary of a trie file."""

    size: int  # words, ``<unk>`` included
    hashes: NDArray[np.uint64]  # (size - 1,) ascending


def read_word_hashes(sections: Sections, header: Header) -> HashedWords | SortedWords:
    """Locate the vocabulary, which follows the header."""
    if header.kind is Kind.PROBING:
        return _read_table(sections, header)
    return _read_sorted(sections, header)


def find_ids(words: HashedWords | SortedWords, hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The id of each word by its hash; UNK_ID for a word that is not there."""
    ids = np.empty(len(hashes), np.uint32)
    if isinstance(words, HashedWords):
        _find_in_table(words, hashes, np.empty(_BLOCK, np.int64), ids)
    else:
        _find_in_sorted(words, hashes, ids)
    return ids


def _read_table(sections: Sections, header: Header) -> HashedWords:
    begin = sections.take(8, "vocabulary")
    version, size = (int(n) for n in sections.file[begin : begin + 8].view(np.uint32))
    if version != 0:
        raise ModelFormatError(sections.path, f"vocabulary of unknown version {version}")
    # The header does not count <unk> where the ARPA file had none.
    if size - header.counts[0] not in {0, 1}:
        problem = f"{size} words in the vocabulary, but {header.counts[0]} unigrams"
        raise ModelFormatError(sections.path, problem)
    begin, buckets = take_buckets(
        sections, "words", header.counts[0], header.probing_multiplier, _BUCKET_BYTES
    )
    file = sections.file[: sections.position]
    table = HashTable(file, begin, _BUCKET_BYTES, np.uint64(buckets))
    return HashedWords(size, file.view(np.uint32), table)


def _read_sorted(sections: Sections, header: Header) -> SortedWords:
    size = header.counts[0]
    begin = sections.take(8 * (size + 1), "vocabulary")
    numbers = sections.file[begin : sections.position].view(np.uint64)
    if int(numbers[0]) + 1 != size:
        problem = f"{int(numbers[0]) + 1} words in the vocabulary, but {size} unigrams"
        raise ModelFormatError(sections.path, problem)
    return SortedWords(size, numbers[1:size])


@kernel
def _find_in_table(
    words: HashedWords,
    hashes: NDArray[np.uint64],
    homes: NDArray[np.int64],  # room for those of a block
    ids: NDArray[np.uint32],
) -> None:
    table = words.table
    for begin in range(0, len(hashes), _BLOCK):
        end = min(begin + _BLOCK, len(hashes))
        for i in range(begin, end):
            homes[i - begin] = home(table, hashes[i])
            prefetch(table.file, homes[i - begin])
        for i in range(begin, end):
            at = find(table, hashes[i], homes[i - begin])
            word = i64(words.numbers[(at + KEY_BYTES) >> 2]) if at >= 0 else UNK_ID
            ids[i] = word if word < words.size else UNK_ID  # else the file is damaged


@kernel
def _find_in_sorted(
    words: SortedWords, hashes: NDArray[np.uint64], ids: NDArray[np.uint32]
) -> None:
    for i in range(len(hashes)):
        ids[i] = _rank(words.hashes, hashes[i]) + 1


@inline
def _rank(hashes: NDArray[np.uint64], key: Any) -> int:
    """The place of a key among ascending hashes, or -1."""
    before, after = -1, len(hashes)
    hash_before, hash_after = ZERO, u64(0xFFFFFFFFFFFFFFFF)
    step = 0
    while after - before > 1:
        width = after - before - 1
        place = before + 1 + next_pivot(step, key - hash_before, hash_after - hash_before, width)
        if hashes[place] < key:
            before, hash_before = place, hashes[place]
        elif hashes[place] > key:
            after, hash_after = place, hashes[place]
        else:
            return place
        step += 1
    return -1
