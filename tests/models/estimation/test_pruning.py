"""Entropy pruning, cut-offs and choice of words."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lmscore.models.estimation.selection import select_words
from tests.models.backoff import Backoff, Ngram
from tests.models.estimation.trained import SENTENCES, as_backoff, distribution, train_file


@pytest.mark.parametrize("smoothing", ["modified-kneser-ney", "katz", "witten-bell"])
def test_pruning_removes_ngrams_and_keeps_distributions_whole(smoothing: str) -> None:
    whole, _ = train_file(SENTENCES, order=4, smoothing=smoothing)
    sizes = [sum(map(len, whole.orders))]
    for threshold in (1e-4, 1e-3, 1e-2):
        pruned, report = train_file(
            SENTENCES, order=4, smoothing=smoothing, prune_threshold=threshold
        )
        sizes.append(sum(report.ngrams_kept))
        model = as_backoff(pruned)
        for context in {ngram[:-1] for ngram in model.probs} | {("old", "café")}:
            assert distribution(model, context).sum() == pytest.approx(1, abs=2e-5)

    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


def test_pruning_removes_what_costs_least_by_the_definition() -> None:
    """Bigrams, each judged by the relative entropy between the model with and without it."""
    threshold = 1e-3
    model = as_backoff(train_file(SENTENCES, order=2)[0])
    left = as_backoff(train_file(SENTENCES, order=2, prune_threshold=threshold)[0])

    for bigram in (ngram for ngram in model.probs if len(ngram) == 2):
        loss = math.expm1(loss_without(model, bigram))
        if abs(loss - threshold) > 1e-5:
            assert (bigram in left.probs) == (loss > threshold), bigram


def loss_without(model: Backoff, bigram: Ngram) -> float:
    """Relative entropy, in nats a word, of a model to the one that lacks a bigram."""
    context = bigram[:1]
    before = distribution(model, context)
    fewer = Backoff(dict(model.probs), dict(model.backoffs))
    del fewer.probs[bigram]
    kept = [ngram for ngram in fewer.probs if len(ngram) == 2 and ngram[:1] == context]
    above = 1 - sum(10 ** fewer.probs[ngram] for ngram in kept)
    below = 1 - sum(10 ** fewer.probs[ngram[1:]] for ngram in kept)
    fewer.backoffs[context] = math.log10(above / below)
    after = distribution(fewer, context)
    how_often = model.probs["</s>" if context == ("<s>",) else context[0],]
    return float(10**how_often * (before * np.log(before / after)).sum())


def test_words_are_chosen_by_count_then_by_frequency() -> None:
    counts = np.array([0, 5, 5, 3, 1, 9, 3, 2])

    chosen = select_words(counts, least_count=2, most_words=2)

    assert np.flatnonzero(chosen).tolist() == [0, 1, 2, 3, 5]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"least_count": 2}, {"a", "b"}),
        ({"most_words": 1}, {"a"}),
        ({}, {"a", "b", "c"}),
    ],
)
def test_words_that_are_not_chosen_are_unknown(
    tmp_path: Path, settings: dict[str, int], words: set[str]
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("a b a\nc a b <unk>\n")

    table, report = train_file(corpus, order=2, **settings)

    assert {word.decode() for word in table.words} == words | {"<s>", "</s>", "<unk>"}
    occurrences = {"a": 3, "b": 2, "c": 1}
    assert report.unknown_tokens == 7 - sum(occurrences[word] for word in words)


def test_a_list_of_words_may_hold_words_that_the_corpus_lacks(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("a\nnever\n")
    (tmp_path / "corpus").write_text("a b a\n")

    table, report = train_file(tmp_path / "corpus", order=2, word_list=tmp_path / "words")

    assert table.words == [b"<unk>", b"<s>", b"</s>", b"a", b"never"]
    assert report.unknown_tokens == 1
    assert as_backoff(table).probs["never",] > -math.inf
