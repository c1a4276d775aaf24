"""Metrics as sums of statistics, against the libraries that people quote."""

from __future__ import annotations

from collections.abc import Sequence

import jiwer
import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscore.client.tuning import METRICS

few = settings(max_examples=60, deadline=None)
words = st.sampled_from(["a", "b", "cd", "the", "3.5", "x-y", "don't", "é", "&amp;", "end."])
texts = st.lists(words, max_size=8).map(" ".join) | st.text("ab \t\u00a0.,", max_size=8)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=5)
Pairs = Sequence[tuple[str, str]]


def corpus_score(name: str, pairs: Pairs) -> float:
    metric = METRICS[name]
    sums = sum(metric.statistics(reference, [other])[0] for reference, other in pairs)
    return float(metric.score(metric.error(np.asarray(sums))))


@few
@given(pairs.filter(lambda pairs: any(reference.strip() for reference, _ in pairs)))
def test_error_rates_are_jiwers(pairs: Pairs) -> None:
    references, others = (list(each) for each in zip(*pairs, strict=True))

    assert corpus_score("wer", pairs) == pytest.approx(100 * jiwer.wer(references, others))
    assert corpus_score("cer", pairs) == pytest.approx(100 * jiwer.cer(references, others))


@few
@given(pairs)
def test_bleu_and_chrf_are_sacrebleus(pairs: Pairs) -> None:
    references, others = (list(each) for each in zip(*pairs, strict=True))

    bleu = sacrebleu.corpus_bleu(others, [references], force=True).score
    assert corpus_score("bleu", pairs) == pytest.approx(bleu, abs=1e-9)
    chrf = sacrebleu.corpus_chrf(others, [references]).score
    assert corpus_score("chrf", pairs) == pytest.approx(chrf, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_many_sums_are_measured_at_once(name: str) -> None:
    metric = METRICS[name]
    rows = metric.statistics("the cat sat on the mat", ["the cat sat", "", "on the mat a dog"])

    assert metric.error(rows[:, None]).tolist() == [[float(metric.error(row))] for row in rows]


def test_no_words_are_no_rate_but_a_number() -> None:
    assert corpus_score("wer", [("", "")]) == 0
    assert corpus_score("wer", [("", "a b")]) == 200
