"""A trie holds every distinct prefix once, and leads every event to its place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.network.grouping import groups, subset
from lmscore.models.network.trie import Paths, PrefixTrie, build_trie

paths_strategy = st.lists(
    st.tuples(st.lists(st.integers(-1, 3), max_size=6), st.integers(0, 6), st.integers(0, 1)),
    min_size=1,
    max_size=15,
)
Items = list[tuple[list[int], int, int]]


def paths_of(items: Items) -> Paths:
    """Items are tokens, how many of them are no events, and a root."""
    return Paths(
        np.array([token for tokens, _, _ in items for token in tokens], np.int64),
        np.concatenate(([0], np.cumsum([len(tokens) for tokens, _, _ in items], dtype=np.int64))),
        np.array([min(skipped, len(tokens)) for tokens, skipped, _ in items]),
        np.array([root for _, _, root in items]),
    )


def prefix(trie: PrefixTrie, row: int) -> tuple[int, ...]:
    """The root of a row and the tokens that lead to it."""
    if row < trie.roots:
        return (row,)
    return (*prefix(trie, int(trie.parents[row])), int(trie.tokens[row]))


@given(paths_strategy)
def test_rows_are_the_distinct_prefixes_that_something_follows(items: Items) -> None:
    trie = build_trie(paths_of(items), 2)

    expected: set[tuple[int, ...]] = {(0,), (1,)}
    for tokens, skipped, root in items:
        read = len(tokens) if skipped >= len(tokens) else len(tokens) - 1
        expected |= {(root, *tokens[:end]) for end in range(read + 1)}
    found = [prefix(trie, row) for row in range(len(trie))]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert trie.tokens[:2].tolist() == trie.parents[:2].tolist() == [-1, -1]
    whole = {
        (root, *tokens[:end]) for tokens, _, root in items for end in range(1, 1 + len(tokens))
    }
    assert trie.prefixes == len(whole)


@given(paths_strategy)
def test_levels_follow_each_other_in_the_order_of_parents(items: Items) -> None:
    trie = build_trie(paths_of(items), 2)

    assert trie.level_starts[0] == 0
    assert trie.level_starts[-1] == len(trie)
    for level in range(1, len(trie.level_starts) - 1):
        begin, end = trie.level_starts[level : level + 2]
        parents = trie.parents[begin:end]
        assert (np.diff(parents) >= 0).all()
        assert parents.min() >= trie.level_starts[level - 1]
        assert parents.max() < begin


@given(paths_strategy)
def test_every_event_has_the_edge_of_its_prefix_and_token(items: Items) -> None:
    trie = build_trie(paths_of(items), 2)

    events = [
        ((root, *tokens[:i]), tokens[i])
        for tokens, skipped, root in items
        for i in range(min(skipped, len(tokens)), len(tokens))
    ]
    edges = [
        (prefix(trie, int(row)), int(token))
        for row, token in zip(trie.edge_rows, trie.edge_tokens, strict=True)
    ]
    assert [edges[edge] for edge in trie.event_edges] == events
    assert len(set(edges)) == len(edges) == len(set(events))


@given(paths_strategy)
def test_ends_are_where_reading_stops(items: Items) -> None:
    trie = build_trie(paths_of(items), 2)

    for (tokens, skipped, root), row in zip(items, trie.end_rows.tolist(), strict=True):
        read = tokens if skipped >= len(tokens) else tokens[:-1]
        assert prefix(trie, row) == (root, *read)


@given(paths_strategy, st.integers(1, 30))
def test_groups_hold_every_path_once_and_no_more_rows_than_fit(items: Items, limit: int) -> None:
    paths = paths_of(items)
    chosen = [group.tolist() for group in groups(paths, limit)]

    assert sorted(i for group in chosen for i in group) == list(range(len(items)))
    for group in chosen:
        trie = build_trie(subset(paths, np.array(group)), 2)
        assert len(trie) - trie.roots <= limit or len(group) == 1


@given(paths_strategy, st.integers(1, 30))
def test_a_group_ends_only_where_the_next_path_does_not_fit(items: Items, limit: int) -> None:
    paths = paths_of(items)
    chosen = [group.tolist() for group in groups(paths, limit)]

    for group, following in pairwise(chosen):
        together = subset(paths, np.array([*group, following[0]]))
        assert build_trie(together, 2).prefixes > limit or len(together.ids) > 32 * limit


def test_equal_texts_share_their_rows_but_are_not_all_in_one_group() -> None:
    paths = paths_of([([1, 2, 3], 0, 0)] * 100)

    assert [len(group) for group in groups(paths, 3)] == [32, 32, 32, 4]


def test_equal_texts_after_different_roots_share_nothing() -> None:
    paths = paths_of([([1, 2, 3], 0, 0), ([1, 2, 3], 0, 1)])

    assert [len(group) for group in groups(paths, 3)] == [1, 1]
