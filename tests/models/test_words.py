"""The table of words tells equal words from different ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.ngram.words import DuplicateWordError, build_word_table, pool_words

word = st.binary(min_size=1, max_size=20).filter(lambda each: not set(each) & set(b"\0\t\n\r "))


@given(st.lists(word, min_size=1, max_size=30, unique=True), st.data())
def test_a_word_that_stands_there_twice_is_found_with_both_places(
    words: list[bytes], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    second = data.draw(st.integers(first + 1, len(words)))
    twice = [*words[:second], words[first], *words[second:]]
    ids = np.arange(len(twice), dtype=np.uint32)

    with pytest.raises(DuplicateWordError) as raised:
        build_word_table(*pool_words(twice), ids, len(twice))
    assert (raised.value.first, raised.value.second) == (first, second)
    table = build_word_table(*pool_words(words), ids[:-1], len(words))
    assert np.count_nonzero(table.slots) == len(words)
