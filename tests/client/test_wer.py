from __future__ import annotations

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.client import Hypothesis, NBestList
from lmscore.client.wer import WerComparison, WordErrors, word_errors

sentences = st.lists(st.sampled_from(["a", "b", "c"]), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "words"),
    [
        ("the cat sat", "the cat sat", 0, 3),
        ("the cat sat", "the  cat sat ", 0, 3),
        ("the cat sat", "a cat sat down", 2, 3),
        ("the cat sat", "", 3, 3),
        ("the cat sat", "cat", 2, 3),
        ("", "", 0, 0),
        ("", "the cat", 2, 0),
    ],
)
def test_edits_are_counted(reference: str, hypothesis: str, errors: int, words: int) -> None:
    assert word_errors(reference, [hypothesis]) == [WordErrors(errors, words)]


@given(st.lists(st.tuples(sentences.filter(bool), sentences), min_size=1, max_size=5))
def test_the_corpus_rate_is_jiwers(pairs: list[tuple[str, str]]) -> None:
    total = WordErrors()
    for reference, hypothesis in pairs:
        total += word_errors(reference, [hypothesis])[0]

    references, hypotheses = map(list, zip(*pairs, strict=True))
    assert total.rate == pytest.approx(jiwer.wer(references, hypotheses))


def test_rates_of_no_words() -> None:
    assert WordErrors(0, 0).rate == 0
    assert WordErrors(1, 0).rate == float("inf")


def nbest(reference: str | None, *scored: tuple[str, float]) -> NBestList:
    return NBestList("a", [Hypothesis(t, {"score": s}) for t, s in scored], reference)


def test_before_is_the_best_score_after_the_winner_oracle_the_fewest_errors() -> None:
    comparison = WerComparison()
    comparison.add(nbest("a b", ("x y", -3.0), ("a x", -1.0), ("a b", -2.0), ("a", -1.0)), 0)
    comparison.add(nbest(None, ("z", 0.0)), 0)
    comparison.add(nbest("c d", ("c d", 0.0)), 0)

    assert comparison.lists == 2
    assert comparison.before == WordErrors(1, 4)
    assert comparison.after == WordErrors(2, 4)
    assert comparison.oracle == WordErrors(0, 4)
