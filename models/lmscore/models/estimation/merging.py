"""Counting texts that do not fit in memory: count parts of them, then merge the sorted results.

What a part holds of one length is a run, sorted by 64-bit keys: the number of the n-gram without
its last word, and that word. As longer lengths build on numbers of shorter ones, the lengths are
merged in turn, and each merge gives the numbers, in the whole, of the n-grams of every part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import i64, inline, kernel, u64
from lmscore.models.estimation.counting import count_in_memory
from lmscore.models.estimation.lexicon import EOS_ID
from lmscore.models.estimation.ngram_counts import NgramCounts, OrderCounts
from lmscore.models.estimation.workspace import Workspace

MAX_ENTRIES = (1 << 32) - 1  # of one length
_COLUMNS: dict[str, Any] = {
    "contexts": np.uint32,
    "words": np.uint32,
    "suffixes": np.uint32,
    "counts": np.int64,
}


def count_ngrams(
    tokens: NDArray[np.uint32],
    vocabulary_size: int,
    order: int,
    tokens_at_once: int,
    workspace: Workspace,
) -> NgramCounts:
    """The n-grams of a text as count_in_memory takes it; the same, however many tokens at once."""
    if len(tokens) <= tokens_at_once:
        return NgramCounts(count_in_memory(tokens, vocabulary_size, order))
    return NgramCounts(_count_in_parts(tokens, vocabulary_size, order, tokens_at_once, workspace))


def _count_in_parts(
    tokens: NDArray[np.uint32],
    vocabulary_size: int,
    order: int,
    tokens_at_once: int,
    workspace: Workspace,
) -> list[OrderCounts]:
    counts = np.zeros(vocabulary_size, np.int64)
    with ExitStack() as files:
        runs = {n: _Runs.open(workspace, files) for n in range(2, order + 1)}
        parts = 0
        for part in _whole_sentences(tokens, tokens_at_once):
            levels = count_in_memory(part, vocabulary_size, order)
            counts += levels[0].counts
            for n, level in enumerate(levels[1:], 2):
                runs[n].append(level)
            parts += 1
        words = np.arange(vocabulary_size, dtype=np.uint32)
        merged = [OrderCounts(words, np.array([0, vocabulary_size]), np.zeros_like(words), counts)]
        starts, numbers = np.zeros(parts, np.int64), words  # a word is its own number
        for n in range(2, order + 1):
            level, numbers = _merge(runs[n], starts, numbers, len(merged[-1]), workspace)
            starts = runs[n].starts
            merged.append(level)
    return merged


@dataclass(slots=True)
class _Runs:
    """The n-grams of one length in each part of a text, one part after the other, in files."""

    files: dict[str, IO[bytes]]
    sizes: list[int] = field(default_factory=list)

    @classmethod
    def open(cls, workspace: Workspace, files: ExitStack) -> _Runs:
        return cls({name: files.enter_context(workspace.file()) for name in _COLUMNS})

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each part begins, and the last ends."""
        return np.concatenate(([0], np.cumsum(self.sizes, dtype=np.int64)))

    def append(self, level: OrderCounts) -> None:
        contexts = np.repeat(
            np.arange(len(level.begins) - 1, dtype=np.uint32), np.diff(level.begins)
        )
        for name, column in (
            ("contexts", contexts),
            ("words", level.words),
            ("suffixes", level.suffixes),
            ("counts", level.counts),
        ):
            column.tofile(self.files[name])
        self.sizes.append(len(level))

    def take(self) -> dict[str, NDArray[Any]]:
        """The columns, whose files vanish with them."""
        columns = {
            name: Workspace.mapped(file, _COLUMNS[name]) for name, file in self.files.items()
        }
        for file in self.files.values():
            file.close()
        return columns


def _whole_sentences(tokens: NDArray[np.uint32], at_once: int) -> Iterator[NDArray[np.uint32]]:
    """Parts of about so many tokens, or one sentence, copied into memory."""
    begin = 0
    while begin < len(tokens):
        end = begin
        while end == begin or (end < len(tokens) and tokens[end - 1] != EOS_ID):
            window = np.array(tokens[end : end + at_once])
            ends = np.flatnonzero(window == EOS_ID)
            end += int(ends[-1]) + 1 if len(ends) else len(window)
        yield np.array(tokens[begin:end])
        begin = end


def _merge(
    runs: _Runs,
    shorter_starts: NDArray[np.int64],
    shorter_numbers: NDArray[np.uint32],
    contexts: int,
    workspace: Workspace,
) -> tuple[OrderCounts, NDArray[np.uint32]]:
    """All n-grams of one length, and their numbers by place in the runs.

    shorter_numbers are those of the n-grams one word shorter, whose runs begin at shorter_starts.
    """
    columns = runs.take()
    starts = runs.starts
    total = int(starts[-1])
    keys = workspace.empty(total, np.uint64)
    for run in range(len(runs.sizes)):
        place = slice(starts[run], starts[run + 1])
        numbers = shorter_numbers[shorter_starts[run] :]
        keys[place] = numbers[columns["contexts"][place]].astype(np.uint64) << 32
        keys[place] |= columns["words"][place]
        columns["suffixes"][place] = numbers[columns["suffixes"][place]]
    level = OrderCounts(
        words=workspace.empty(total, np.uint32),
        begins=workspace.empty(contexts + 1, np.int64),
        suffixes=workspace.empty(total, np.uint32),
        counts=workspace.empty(total, np.int64),
    )
    numbers = workspace.empty(total, np.uint32)
    entries = _merge_runs(
        keys, columns["suffixes"], columns["counts"], starts[:-1].copy(), starts[1:],
        np.empty(len(runs.sizes), np.int64),
        level.words, level.begins, level.suffixes, level.counts, numbers,
    )  # fmt: skip
    if entries > MAX_ENTRIES:
        raise OverflowError(f"{entries} n-grams of one length are too many")
    used = slice(entries)
    return (
        OrderCounts(level.words[used], level.begins, level.suffixes[used], level.counts[used]),
        numbers,
    )


@kernel
def _merge_runs(
    keys: NDArray[np.uint64],
    run_suffixes: NDArray[np.uint32],
    run_counts: NDArray[np.int64],
    cursors: NDArray[np.int64],
    ends: NDArray[np.int64],
    heap: NDArray[np.int64],
    words: NDArray[np.uint32],
    begins: NDArray[np.int64],
    suffixes: NDArray[np.uint32],
    counts: NDArray[np.int64],
    numbers: NDArray[np.uint32],
) -> int:
    """Merge runs by key, from their cursors to their ends; the number of different keys."""
    size = 0
    for run in range(cursors.size):
        if cursors[run] < ends[run]:
            heap[size] = run
            size += 1
    for at in range(size // 2 - 1, -1, -1):
        _sift(keys, cursors, heap, size, at)
    entry = i64(-1)
    context = i64(-1)
    last_key = u64(0)
    while size > 0:
        run = heap[0]
        i = cursors[run]
        key = keys[i]
        if entry < 0 or key != last_key:
            entry += 1
            last_key = key
            words[entry] = key & u64(0xFFFFFFFF)
            suffixes[entry] = run_suffixes[i]
            counts[entry] = 0
            while context < i64(key >> u64(32)):
                context += 1
                begins[context] = entry
        counts[entry] += run_counts[i]
        numbers[i] = entry
        cursors[run] += 1
        if cursors[run] == ends[run]:
            size -= 1
            heap[0] = heap[size]
        _sift(keys, cursors, heap, size, 0)
    for empty in range(context + 1, begins.size):
        begins[empty] = entry + 1
    return entry + 1


@inline
def _sift(
    keys: NDArray[np.uint64],
    cursors: NDArray[np.int64],
    heap: NDArray[np.int64],
    size: int,
    at: int,
) -> None:
    """Let a run sink to where those below it have no lower key."""
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        if child + 1 < size and keys[cursors[heap[child + 1]]] < keys[cursors[heap[child]]]:
            child += 1
        if keys[cursors[heap[at]]] <= keys[cursors[heap[child]]]:
            return
        heap[at], heap[child] = heap[child], heap[at]
        at = child
