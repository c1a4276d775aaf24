"""The ways to smooth, each as what it counts and whom it takes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.estimation.backoff_model import ShareRule, Smoothing
from lmscore.models.estimation.discounts import (
    absolute_discount,
    katz_discounts,
    modified_discounts,
)
from lmscore.models.estimation.jelinek_mercer import fit_weights
from lmscore.models.estimation.lexicon import BOS_ID
from lmscore.models.estimation.ngram_counts import NgramCounts

DiscountFunction = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class SmoothingInputs:
    """What smoothings may need besides counts."""

    added: float = 1.0  # to every count, by additive smoothing
    heldout: NDArray[np.uint32] | None = None  # (tokens,) as count_in_memory takes them


def maximum_likelihood(ngrams: NgramCounts, _inputs: SmoothingInputs) -> Smoothing:
    """Relative frequencies; what was not seen after a context that was is impossible."""
    rules = [ShareRule.make()] * ngrams.order
    return Smoothing(_occurrences(ngrams), rules, interpolated=False)


def additive(ngrams: NgramCounts, inputs: SmoothingInputs) -> Smoothing:
    """A constant added to the count of every word after every context; 1 is Laplace's rule.

    Only whole contexts have distributions of their own: of order - 1 words, or from ``<s>`` on.
    After one that was not seen, all words are equally likely.
    """
    rule = ShareRule.make(added=inputs.added * ngrams.event_types)
    notes = {"added": inputs.added}
    return Smoothing(_occurrences(ngrams), [rule] * ngrams.order, flat=True, notes=notes)


def katz(ngrams: NgramCounts, _inputs: SmoothingInputs) -> Smoothing:
    """Good-Turing discounts of small counts, and back-off (Katz 1987)."""
    counts = _occurrences(ngrams)
    return _discounted(katz_discounts, counts, interpolated=False, always_leaves=True)


def witten_bell(ngrams: NgramCounts, _inputs: SmoothingInputs) -> Smoothing:
    """As likely to see a new word as there were kinds of words (Witten and Bell 1991, method C)."""
    return Smoothing(_occurrences(ngrams), [ShareRule.make(per_type=1.0)] * ngrams.order)


def absolute(ngrams: NgramCounts, _inputs: SmoothingInputs) -> Smoothing:
    """One discount a length, interpolated (Ney, Essen and Kneser 1994)."""
    counts = _occurrences(ngrams)
    return _discounted(absolute_discount, counts)


def kneser_ney(ngrams: NgramCounts, _inputs: SmoothingInputs) -> Smoothing:
    """One discount a length; shorter n-grams count by what precedes them (Kneser and Ney 1995)."""
    counts = _continuations(ngrams)
    return _discounted(absolute_discount, counts)


def modified_kneser_ney(ngrams: NgramCounts, _inputs: SmoothingInputs) -> Smoothing:
    """Kneser-Ney with discounts for 1, 2 and more (Chen and Goodman 1998); equal to KenLM's."""
    counts = _continuations(ngrams)
    return _discounted(modified_discounts, counts)


def jelinek_mercer(ngrams: NgramCounts, inputs: SmoothingInputs) -> Smoothing:
    """Linear interpolation, its weights by context count fitted (Jelinek and Mercer 1980)."""
    if inputs.heldout is None:
        raise ValueError("Jelinek-Mercer smoothing is fitted on held-out text")
    counts = _occurrences(ngrams)
    weights, likelihoods = fit_weights(ngrams.orders, counts, inputs.heldout)
    rules = [ShareRule.make(weights=row) for row in weights]
    return Smoothing(counts, rules, notes={"em_rounds": len(likelihoods)})


SMOOTHINGS: dict[str, Callable[[NgramCounts, SmoothingInputs], Smoothing]] = {
    "modified-kneser-ney": modified_kneser_ney,
    "kneser-ney": kneser_ney,
    "absolute": absolute,
    "witten-bell": witten_bell,
    "katz": katz,
    "jelinek-mercer": jelinek_mercer,
    "additive": additive,
    "maximum-likelihood": maximum_likelihood,
}


def _discounted(
    discount: DiscountFunction, counts: list[NDArray[np.int64]], **how: bool
) -> Smoothing:
    """Smoothing that takes discounts from counts; how: fields of Smoothing."""
    discounts = [discount(n, level) for n, level in enumerate(counts, 1)]
    notes = {"discounts": [row[1:].tolist() for row in discounts]}
    return Smoothing(counts, [ShareRule.make(row) for row in discounts], notes=notes, **how)


def _occurrences(ngrams: NgramCounts) -> list[NDArray[np.int64]]:
    """Counts by length, that of ``<s>``, which is never predicted, being 0."""
    counts = [level.counts for level in ngrams.orders]
    counts[0] = counts[0].copy()
    counts[0][BOS_ID] = 0
    return counts


def _continuations(ngrams: NgramCounts) -> list[NDArray[np.int64]]:
    """For all n-grams but the longest, by how many different words they are preceded.

    Those that begin with ``<s>``, which nothing precedes, keep their counts, as in lmplz.
    """
    counts = _occurrences(ngrams)
    for n in range(1, ngrams.order):
        whole = ngrams.after_sentence_start(n)
        preceded = np.zeros(len(ngrams.orders[n - 1]), np.int64)
        _count_suffixes(ngrams.orders[n].suffixes, preceded)
        preceded[whole] = counts[n - 1][whole]
        counts[n - 1] = preceded
    return counts


@kernel
def _count_suffixes(suffixes: NDArray[np.uint32], preceded: NDArray[np.int64]) -> None:
    for i in range(suffixes.size):
        preceded[suffixes[i]] += 1
