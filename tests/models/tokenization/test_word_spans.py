"""Scores of words out of those of pieces, against a sum written out for one text at a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.language_model import Texts, TokenArrays
from lmscore.models.tokenization.tokenizer import Tokenizer
from lmscore.models.tokenization.word_spans import word_scores
from tests.models.tokenization.examples import (
    TEXTS,
    byte_bpe,
    fallback_bpe,
    metaspace_bpe,
    sentencepiece_fallback,
    sentencepiece_unigram,
    subword_nmt,
    wordpiece,
    words,
)

Row = tuple[int, int, float, bool, int]
SUBWORDS = [
    words, byte_bpe, metaspace_bpe, fallback_bpe, wordpiece, sentencepiece_unigram,
    sentencepiece_fallback, subword_nmt,
]  # fmt: skip


def scored(tokenizer: Tokenizer, texts: list[str], *, eos: bool) -> TokenArrays:
    """Events as a model gives them, with log-probabilities that are all different."""
    tokens = tokenizer.encode(Texts.from_strings(texts))
    counts = np.diff(tokens.offsets)
    at = np.repeat(tokens.offsets[1:], int(eos))
    sizes = np.array([len(text.encode()) for text in texts], np.int64)[: len(at)]
    ids = np.insert(tokens.token_ids, at, tokenizer.vocabulary.eos_id)
    return TokenArrays(
        np.concatenate(([0], np.cumsum(counts + int(eos)))),
        ids,
        -np.sqrt(np.arange(len(ids)) + 1.0),
        np.insert(tokens.oov, at, False),
        np.insert(tokens.begin_bytes, at, sizes),
        np.insert(tokens.end_bytes, at, sizes),
        None,
    )


def by_hand(text: str, events: list[tuple[int, int, float, bool]], *, eos: bool) -> list[Row]:
    """The words of one text: a piece at a time, a byte at a time."""
    data = text.encode()
    spans = [match.span() for match in re.finditer(rb"[^\0\t\n\r ]+", data)]
    pieces = events[:-1] if eos else events
    if pieces and not spans:
        spans = [(0, len(data))]
    rows = [[begin, end, 0.0, False, 0] for begin, end in spans]
    for begin, end, log_prob, oov in pieces:
        begun = [i for i, (start, _) in enumerate(spans) if begin <= start < end]
        within = [i for i, (start, stop) in enumerate(spans) if start <= begin < stop]
        after = [i for i, (start, _) in enumerate(spans) if start >= begin]
        owner = (begun[-1:] or within or after[:1] or [len(spans) - 1])[0]
        rows[owner] = [
            *spans[owner], rows[owner][2] + log_prob, rows[owner][3] or oov, rows[owner][4] + 1
        ]  # fmt: skip
    if eos:
        begin, end, log_prob, oov = events[-1]
        rows.append([begin, end, log_prob, oov, 1])
    return [(int(a), int(b), float(c), bool(d), int(e)) for a, b, c, d, e in rows]


@pytest.mark.parametrize("make", SUBWORDS)
@pytest.mark.parametrize("eos", [True, False])
@given(texts=TEXTS)
def test_words_are_the_sums_of_their_pieces(
    make: Callable[[], Tokenizer], eos: bool, texts: list[str]
) -> None:
    events = scored(make(), texts, eos=eos)

    found = word_scores(Texts.from_strings(texts), events, eos=eos)

    assert events.begin_bytes is not None
    assert events.end_bytes is not None
    columns = (events.begin_bytes, events.end_bytes, events.log_probs, events.oov)
    for item, text in enumerate(texts):
        part = slice(*events.offsets[item : item + 2])
        rows = list(zip(*(column[part].tolist() for column in columns), strict=True))
        expected = by_hand(text, rows, eos=eos)
        part = slice(*found.offsets[item : item + 2])
        assert [row[:2] for row in expected] == list(
            zip(found.begin_bytes[part].tolist(), found.end_bytes[part].tolist(), strict=True)
        )
        assert found.log_probs[part].tolist() == pytest.approx([row[2] for row in expected])
        assert found.oov[part].tolist() == [row[3] for row in expected]
        assert found.token_counts[part].tolist() == [row[4] for row in expected]


@given(texts=TEXTS, make=st.sampled_from(SUBWORDS))
def test_the_words_of_a_text_add_up_to_it(texts: list[str], make: Callable[[], Tokenizer]) -> None:
    events = scored(make(), texts, eos=True)

    found = word_scores(Texts.from_strings(texts), events)

    for item in range(len(texts)):
        words_of = slice(*found.offsets[item : item + 2])
        events_of = slice(*events.offsets[item : item + 2])
        total = events.log_probs[events_of].sum()
        assert found.log_probs[words_of].sum() == pytest.approx(total)


@given(texts=TEXTS)
def test_a_tokenizer_of_words_gives_back_its_own_events(texts: list[str]) -> None:
    events = scored(words(), texts, eos=True)

    found = word_scores(Texts.from_strings(texts), events)

    for mine, its in (
        (found.offsets, events.offsets),
        (found.begin_bytes, events.begin_bytes),
        (found.end_bytes, events.end_bytes),
        (found.log_probs, events.log_probs),
        (found.oov, events.oov),
    ):
        assert its is not None
        assert mine.tolist() == its.tolist()


def test_an_impossible_piece_makes_its_word_impossible_and_no_other() -> None:
    texts = ["the cats sat"]
    events = scored(subword_nmt(), texts, eos=True)
    log_probs = np.where(np.arange(len(events.log_probs)) == 1, -np.inf, -1.0)

    found = word_scores(Texts.from_strings(texts), replace(events, log_probs=log_probs))

    assert found.log_probs.tolist() == [-1, -np.inf, -1, -1]


def test_tokens_without_a_text_have_no_words() -> None:
    events = replace(scored(words(), ["a"], eos=True), begin_bytes=None)

    with pytest.raises(ValueError, match="token sequences have no words"):
        word_scores(Texts.from_strings(["a"]), events)
