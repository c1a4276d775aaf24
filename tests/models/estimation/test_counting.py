"""Words to ids, and ids to counts, in memory and on disk."""

from __future__ import annotations

import functools
import operator
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscore.models.estimation.lexicon import Lexicon, SentenceMarkError
from lmscore.models.estimation.merging import count_ngrams
from lmscore.models.estimation.ngram_counts import NgramCounts
from lmscore.models.estimation.workspace import Workspace

SENTENCES = st.lists(st.lists(st.integers(0, 6), max_size=9), min_size=1, max_size=30)


def spelled_counts(ngrams: NgramCounts) -> Counter[tuple[int, ...]]:
    """How often each n-gram occurs, by its words."""
    counts: Counter[tuple[int, ...]] = Counter()
    shorter: list[tuple[int, ...]] = [()]
    for level in ngrams.orders:
        spelled = [
            (*context, word)
            for context, (begin, end) in zip(shorter, pairwise(level.begins.tolist()), strict=True)
            for word in level.words[begin:end].tolist()
        ]
        assert spelled == sorted(spelled)
        assert [shorter[i] for i in level.suffixes.tolist()] == [ngram[1:] for ngram in spelled]
        counts.update(dict(zip(spelled, level.counts.tolist(), strict=True)))
        shorter = spelled
    return +counts


@given(sentences=SENTENCES, order=st.integers(1, 6), at_once=st.sampled_from([1, 7, 50, 10**6]))
@settings(max_examples=100, deadline=None)
def test_counts_are_those_of_counting_one_by_one(
    sentences: list[list[int]], order: int, at_once: int
) -> None:
    marked = [[1, *(0 if word == 0 else word + 2 for word in words), 2] for words in sentences]
    tokens = np.array(functools.reduce(operator.iadd, marked, []), np.uint32)

    found = count_ngrams(tokens, 9, order, at_once, Workspace(on_disk=at_once < len(tokens)))

    assert spelled_counts(found) == Counter(
        tuple(words[i : i + n])
        for words in marked
        for n in range(1, order + 1)
        for i in range(len(words) - n + 1)
    )


def test_parts_on_disk_give_the_arrays_that_memory_gives() -> None:
    rng = np.random.default_rng(3)
    sentences = [[1, *(rng.zipf(1.3, rng.integers(30)) % 5000 + 3), 2] for _ in range(3000)]
    tokens = np.array(functools.reduce(operator.iadd, sentences, []), np.uint32)
    whole = count_ngrams(tokens, 5003, 5, len(tokens), Workspace())

    parts = count_ngrams(tokens, 5003, 5, 4000, Workspace(on_disk=True))

    for one, other in zip(whole.orders, parts.orders, strict=True):
        for name in ("words", "begins", "suffixes", "counts"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_temporary_files_do_not_stay(tmp_path: Path) -> None:
    tokens = np.array([1, 3, 4, 2] * 50, np.uint32)

    count_ngrams(tokens, 5, 3, 20, Workspace(tmp_path, on_disk=True))

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("blanks", [" ", "\t", "  ", "\0", " \r"])
def test_words_are_what_is_between_blanks(blanks: str) -> None:
    lexicon = Lexicon()

    ids = lexicon.encode(f"{blanks}one{blanks}two{blanks}\n\nno\xa0break one".encode())

    assert lexicon.words == [b"<unk>", b"<s>", b"</s>", b"one", b"two", "no\xa0break".encode()]
    assert ids.tolist() == [1, 3, 4, 2, 1, 2, 1, 5, 3, 2]


def test_a_lexicon_grows_with_its_words() -> None:
    lexicon = Lexicon()
    words = [f"w{i}" * (1 + i % 5) for i in range(100_000)]

    first = lexicon.encode(" ".join(words).encode())
    again = lexicon.encode(" ".join(words).encode())

    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[1:-1], np.arange(3, 100_003))


def test_a_lexicon_that_may_not_grow_takes_new_words_for_unknown() -> None:
    lexicon = Lexicon()
    lexicon.encode(b"known")

    assert lexicon.encode(b"known new <unk>", grow=False).tolist() == [1, 3, 0, 0, 2]


@pytest.mark.parametrize("mark", ["<s>", "</s>"])
def test_a_sentence_mark_in_a_text_is_an_error(mark: str) -> None:
    with pytest.raises(SentenceMarkError) as error:
        Lexicon().encode(f"one\ntwo {mark} three".encode())

    assert (error.value.mark, error.value.line) == (mark, 1)
