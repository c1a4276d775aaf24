"""From counts to probabilities and back-off weights, whatever the smoothing.

Every smoothing here is a rule for the share of a context's mass that its own n-grams keep. What
they leave goes to shorter contexts, either to all words (interpolation) or to those that were not
seen in the context (back-off proper).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.estimation.lexicon import BOS_ID
from lmscore.models.estimation.ngram_counts import NgramCounts, OrderCounts
from lmscore.models.estimation.threads import even_parts, for_each_part
from lmscore.models.estimation.workspace import Workspace

NO_MASS = 1e-9  # less than that is what rounding leaves
TOTAL_BITS = 64


class ShareRule(NamedTuple):
    """The share of a context's mass that an n-gram with count c keeps.

    weights[bits of t] * (c - discounts[min(c, last)]) / (t + per_type * k + added), where t is the
    sum of the counts in the context, and k the number of n-grams in it.
    """

    discounts: NDArray[np.float64]  # (any,)
    per_type: float
    added: float
    weights: NDArray[np.float64]  # (64,) by the number of binary digits of t

    @classmethod
    def make(
        cls,
        discounts: NDArray[np.float64] | None = None,
        *,
        per_type: float = 0.0,
        added: float = 0.0,
        weights: NDArray[np.float64] | None = None,
    ) -> ShareRule:
        """A rule that keeps all, but for what is said."""
        return cls(
            np.zeros(1) if discounts is None else discounts,
            per_type,
            added,
            np.ones(TOTAL_BITS) if weights is None else weights,
        )


@dataclass(frozen=True, slots=True)
class Smoothing:
    """What is counted, who keeps how much, and who gets the rest."""

    counts: list[NDArray[np.int64]]  # by length, from 1; that of ``<s>`` is 0
    rules: list[ShareRule]  # by length, from 1
    interpolated: bool = True  # else the rest is only for words not seen in the context
    always_leaves: bool = False  # a context whose n-grams keep all gives up one count of its total
    flat: bool = False  # the rest is spread evenly over all words, not by shorter contexts
    notes: Mapping[str, object] = field(default_factory=dict)  # what was computed for it


@dataclass(frozen=True, slots=True)
class BackoffModel:
    """The probabilities of all n-grams, and of backing off; those not kept hold what that gives."""

    levels: list[OrderCounts]  # by length, from 1: which n-grams there are
    kept: list[NDArray[np.bool_]]  # (entries,) each
    probs: list[NDArray[np.float64]]  # (entries,) each
    backoffs: list[NDArray[np.float64]]  # (entries,) each, as contexts; none for the longest

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.levels)


def estimate(
    ngrams: NgramCounts,
    smoothing: Smoothing,
    cutoffs: Sequence[int] = (),
    workspace: Workspace | None = None,
) -> BackoffModel:
    """The back-off model of a corpus.

    N-grams of length n that occur cutoffs[n - 1] times or less are left out, the last number being
    that of all longer ones too. The first is 0, and none is below the one before it, so that what
    begins or ends a longer n-gram stays.
    """
    workspace = workspace or Workspace()
    uniform = np.array([1.0 / ngrams.event_types])
    lower = uniform
    model = BackoffModel(ngrams.orders, [], [], [])
    for n, level in enumerate(ngrams.orders, 1):
        kept = level.counts > (cutoffs[min(n, len(cutoffs)) - 1] if cutoffs else 0)
        if n == 1:
            kept[BOS_ID] = False
        probs, backoffs = _estimate_level(level, n, smoothing, kept, lower, workspace)
        if n == 1:
            kept[:] = True
            probs[BOS_ID] = 1.0  # never an event, and written as lmplz writes it
        else:
            model.backoffs.append(backoffs)
        if smoothing.flat and n < ngrams.order:
            _flatten(ngrams, n, probs, model.backoffs[-1] if n > 1 else None)
        model.kept.append(kept)
        model.probs.append(probs)
        lower = probs
    return model


def _estimate_level(
    level: OrderCounts,
    n: int,
    smoothing: Smoothing,
    kept: NDArray[np.bool_],
    lower: NDArray[np.float64],
    workspace: Workspace,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities of the n-grams of length n, and back-off weights of their contexts."""
    probs = workspace.empty(len(level), np.float64)
    backoffs = workspace.empty(len(level.begins) - 1, np.float64)
    share = _interpolate if smoothing.interpolated else _back_off
    for_each_part(
        lambda first, last: share(
            smoothing.rules[n - 1], level.begins, smoothing.counts[n - 1], kept, level.suffixes,
            lower, first, last, smoothing.always_leaves, probs, backoffs,
        ),
        even_parts(level.begins[1:]),
    )  # fmt: skip
    return probs, backoffs


def _flatten(
    ngrams: NgramCounts,
    n: int,
    probs: NDArray[np.float64],
    context_backoffs: NDArray[np.float64] | None,
) -> None:
    """Let all n-grams that longer ones back off to be equally likely.

    None of those begins with ``<s>``: what does is a whole context, only shorter than others.
    """
    whole = ngrams.after_sentence_start(n)
    even = np.full(len(probs), 1.0 / ngrams.event_types)
    even[whole] = probs[whole]
    probs[:] = even
    if context_backoffs is not None:
        whole = ngrams.after_sentence_start(n - 1)
        context_backoffs[: whole.start] = context_backoffs[whole.stop :] = 1.0


@kernel
def _interpolate(
    rule: ShareRule,
    begins: NDArray[np.int64],
    counts: NDArray[np.int64],
    kept: NDArray[np.bool_],
    suffixes: NDArray[np.uint32],
    lower: NDArray[np.float64],
    first: int,
    last: int,
    _always_leaves: bool,
    probs: NDArray[np.float64],
    backoffs: NDArray[np.float64],
) -> None:
    """Probabilities of the n-grams in contexts, and the weight of what is below."""
    for context in range(first, last):
        begin, end = begins[context], begins[context + 1]
        taken, denominator = _keep(rule, counts, kept, begin, end, probs)
        backoff = 1.0 if denominator == 0 else max((denominator - taken) / denominator, 0.0)
        for i in range(begin, end):
            share = probs[i] / denominator if kept[i] else 0.0
            probs[i] = share + backoff * lower[suffixes[i]]
        backoffs[context] = backoff


@kernel
def _back_off(
    rule: ShareRule,
    begins: NDArray[np.int64],
    counts: NDArray[np.int64],
    kept: NDArray[np.bool_],
    suffixes: NDArray[np.uint32],
    lower: NDArray[np.float64],
    first: int,
    last: int,
    always_leaves: bool,
    probs: NDArray[np.float64],
    backoffs: NDArray[np.float64],
) -> None:
    """Probabilities of the n-grams in contexts, and the weight of what is below."""
    for context in range(first, last):
        begin, end = begins[context], begins[context + 1]
        taken, denominator = _keep(rule, counts, kept, begin, end, probs)
        others = 1.0  # mass that what is not kept has below
        for i in range(begin, end):
            if kept[i]:
                others -= lower[suffixes[i]]
        if denominator == 0:
            backoff = 1.0
        elif others < NO_MASS:  # nothing else can follow
            denominator = taken
            backoff = 1.0
        else:
            if always_leaves and taken >= denominator:
                denominator = taken + 1
            backoff = max((denominator - taken) / denominator / others, 0.0)
        for i in range(begin, end):
            probs[i] = probs[i] / denominator if kept[i] else backoff * lower[suffixes[i]]
        backoffs[context] = backoff


@kernel
def _keep(
    rule: ShareRule,
    counts: NDArray[np.int64],
    kept: NDArray[np.bool_],
    begin: int,
    end: int,
    probs: NDArray[np.float64],
) -> tuple[float, float]:
    """What the n-grams of a context keep, also each in probs, and the whole that is a part of."""
    total = types = 0
    for i in range(begin, end):
        total += counts[i]
        types += counts[i] > 0
    bits = 0
    while total >> bits:
        bits += 1
    taken = 0.0
    last = rule.discounts.size - 1
    for i in range(begin, end):
        if kept[i]:
            probs[i] = rule.weights[bits] * (counts[i] - rule.discounts[min(counts[i], last)])
            taken += probs[i]
    return taken, total + rule.per_type * types + rule.added
