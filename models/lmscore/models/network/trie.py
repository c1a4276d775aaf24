"""The distinct prefixes of a batch: what a network has to compute, each of them once.

Hypotheses of one list share most of their beginnings, so a batch of token sequences is made into a
trie (Si et al., Interspeech 2013). Its inner nodes are the prefixes that something follows; they
are the rows of the computation, one level after the other. Its edges are the distinct events.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel, u64

_INNER, _EVENT = 1, 2


@dataclass(frozen=True, slots=True)
class Paths:
    """Token sequences from their roots: sequence i is ids[offsets[i]:offsets[i + 1]].

    Its first skipped[i] tokens are read but are no events.
    """

    ids: NDArray[np.int64]  # (tokens,) -1: a token that the vocabulary lacks
    offsets: NDArray[np.int64]  # (sequences + 1,)
    skipped: NDArray[np.int64]  # (sequences,)
    roots: NDArray[np.int64]  # (sequences,) number of the state that each begins in

    def __len__(self) -> int:
        return len(self.skipped)


@dataclass(frozen=True, slots=True)
class PrefixTrie:
    """Rows to compute and events to look up there.

    The first rows are the roots. Those of a level follow each other in the order of their parents,
    which are in the level before.
    """

    level_starts: NDArray[np.int64]  # (levels + 1,) rows where each begins; the roots are level 0
    tokens: NDArray[np.int64]  # (rows,) what leads to each row; -1 for roots
    parents: NDArray[np.int64]  # (rows,) -1 for roots
    edge_rows: NDArray[np.int64]  # (edges,) row in which each distinct event is predicted
    edge_tokens: NDArray[np.int64]  # (edges,)
    event_edges: NDArray[np.int64]  # (events,) of all sequences, in their order
    end_rows: NDArray[np.int64]  # (sequences,) their end, or where their last event is predicted
    prefixes: int  # distinct ones, whole paths included

    @property
    def roots(self) -> int:
        """Number of rows that are given."""
        return int(self.level_starts[1])

    def __len__(self) -> int:
        return len(self.tokens)


def build_trie(paths: Paths, root_count: int) -> PrefixTrie:
    """The trie of paths that begin in so many states."""
    total = len(paths.ids)
    capacity = root_count + total
    tokens = np.full(capacity, -1, np.int64)
    parents = np.full(capacity, -1, np.int64)
    depths = np.zeros(capacity, np.int64)
    flags = np.zeros(capacity, np.uint8)
    flags[:root_count] = _INNER
    last = np.empty(total, np.int64)  # node of each token of each path
    ends = np.empty(len(paths), np.int64)
    table = np.full(1 << max(4, (2 * total).bit_length()), -1, np.int64)
    count = int(
        _insert(
            paths.ids,
            paths.offsets,
            paths.skipped,
            paths.roots,
            root_count,
            tokens,
            parents,
            depths,
            flags,
            last,
            ends,
            table,
        )
    )
    flags, depths = flags[:count], depths[:count]
    rows = np.full(count, -1, np.int64)
    order = _by_level(np.flatnonzero(flags & _INNER), parents, depths, rows)
    edges = np.flatnonzero(flags & _EVENT)
    edge_numbers = np.empty(count, np.int64)
    edge_numbers[edges] = np.arange(len(edges))
    return PrefixTrie(
        level_starts=np.concatenate(([0], np.cumsum(np.bincount(depths[order])))),
        tokens=tokens[order],
        parents=np.where(parents[order] >= 0, rows[parents[order]], -1),
        edge_rows=rows[parents[edges]],
        edge_tokens=tokens[edges],
        event_edges=_event_edges(paths, last, edge_numbers),
        end_rows=rows[ends],
        prefixes=count - root_count,
    )


def _event_edges(
    paths: Paths, last: NDArray[np.int64], edge_numbers: NDArray[np.int64]
) -> NDArray[np.int64]:
    lengths = np.diff(paths.offsets)
    places = np.arange(len(paths.ids)) - np.repeat(paths.offsets[:-1], lengths)
    return edge_numbers[last[places >= np.repeat(paths.skipped, lengths)]]


def _by_level(
    inner: NDArray[np.int64],
    parents: NDArray[np.int64],
    depths: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The inner nodes by depth and then by their parents' rows; fills in rows."""
    inner = inner[np.argsort(depths[inner], kind="stable")]
    bounds = np.concatenate(([0], np.cumsum(np.bincount(depths[inner]))))
    for begin, end in pairwise(bounds.tolist()):
        level = inner[begin:end]
        if begin:
            level = level[np.argsort(rows[parents[level]], kind="stable")]
            inner[begin:end] = level
        rows[level] = np.arange(begin, end)
    return inner


@kernel
def _insert(
    ids: NDArray[np.int64],
    offsets: NDArray[np.int64],
    skipped: NDArray[np.int64],
    roots: NDArray[np.int64],
    root_count: int,
    tokens: NDArray[np.int64],
    parents: NDArray[np.int64],
    depths: NDArray[np.int64],
    flags: NDArray[np.uint8],
    last: NDArray[np.int64],
    ends: NDArray[np.int64],
    table: NDArray[np.int64],  # nodes by hash, -1 where free; a power of two
) -> int:
    """Walk every path from its root, making nodes where there are none yet; their number."""
    count = root_count
    mask = u64(table.size - 1)
    for path in range(offsets.size - 1):
        node = roots[path]
        for i in range(offsets[path], offsets[path + 1]):
            flags[node] |= _INNER
            key = u64(node) * u64(0x9E3779B97F4A7C15) ^ u64(ids[i]) * u64(0xC2B2AE3D27D4EB4F)
            slot = (key ^ (key >> u64(29))) & mask
            while table[slot] >= 0 and (
                parents[table[slot]] != node or tokens[table[slot]] != ids[i]
            ):
                slot = (slot + u64(1)) & mask
            if table[slot] < 0:
                table[slot] = count
                parents[count] = node
                tokens[count] = ids[i]
                depths[count] = depths[node] + 1
                count += 1
            node = table[slot]
            last[i] = node
            if i - offsets[path] >= skipped[path]:
                flags[node] |= _EVENT
        if skipped[path] < offsets[path + 1] - offsets[path]:
            ends[path] = parents[node]
        else:
            ends[path] = node
            flags[node] |= _INNER
    return count
