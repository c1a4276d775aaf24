"""Leaving out n-grams that change the model little (Stolcke 1998, entropy-based pruning)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.estimation.backoff_model import NO_MASS, BackoffModel
from lmscore.models.estimation.lexicon import BOS_ID, EOS_ID
from lmscore.models.estimation.threads import even_parts, for_each_part

_NOTHING_LONGER = np.empty(0, np.int64), np.empty(0, np.bool_)


def prune(model: BackoffModel, threshold: float) -> None:
    """Leave out, in place, n-grams without which perplexity rises by less than a share.

    Words stay, and so does what begins a longer n-gram that stays. N-grams of one length are
    judged each as if it alone were left out. Back-off weights are adjusted.
    """
    context_probs = _context_probs(model)
    longer = _NOTHING_LONGER
    for n in range(model.order, 1, -1):
        _prune_length(model, n, context_probs.pop(), longer, threshold)
        longer = model.levels[n - 1].begins, model.kept[n - 1]
    for n in range(2, model.order + 1):
        _renormalize_length(model, n)


def _context_probs(model: BackoffModel) -> list[NDArray[np.float64]]:
    """How often each n-gram occurs per word, by the model's own probabilities; by length, from 1.

    ``<s>`` occurs as often as ``</s>``.
    """
    words = model.probs[0].copy()
    words[BOS_ID] = words[EOS_ID]
    context_probs = [words]
    for level, probs in zip(model.levels[1:-1], model.probs[1:-1], strict=True):
        context_probs.append(np.repeat(context_probs[-1], np.diff(level.begins)) * probs)
    return context_probs


def _prune_length(
    model: BackoffModel,
    n: int,
    context_probs: NDArray[np.float64],
    longer: tuple[NDArray[np.int64], NDArray[np.bool_]],
    threshold: float,
) -> None:
    level = model.levels[n - 1]
    for_each_part(
        lambda first, last: _prune_contexts(
            level.begins, level.suffixes, *longer, context_probs, model.probs[n - 1],
            model.probs[n - 2], first, last, math.log1p(threshold), model.kept[n - 1],
        ),
        even_parts(level.begins[1:]),
    )  # fmt: skip


def _renormalize_length(model: BackoffModel, n: int) -> None:
    level = model.levels[n - 1]
    for_each_part(
        lambda first, last: _renormalize(
            level.begins, level.suffixes, model.kept[n - 1], model.probs[n - 2], first, last,
            model.probs[n - 1], model.backoffs[n - 2],
        ),
        even_parts(level.begins[1:]),
    )  # fmt: skip


@kernel
def _unseen_mass(
    suffixes: NDArray[np.uint32],
    kept: NDArray[np.bool_],
    probs: NDArray[np.float64],
    lower: NDArray[np.float64],
    begin: int,
    end: int,
) -> tuple[float, float]:
    """What the n-grams kept in a context leave, in its distribution and in the one below."""
    left = below = 1.0
    for i in range(begin, end):
        if kept[i]:
            left -= probs[i]
            below -= lower[suffixes[i]]
    return max(left, 0.0), max(below, 0.0)


@kernel
def _prune_contexts(
    begins: NDArray[np.int64],
    suffixes: NDArray[np.uint32],
    longer_begins: NDArray[np.int64],
    longer_kept: NDArray[np.bool_],
    context_probs: NDArray[np.float64],
    probs: NDArray[np.float64],
    lower: NDArray[np.float64],
    first: int,
    last: int,
    least_loss: float,
    kept: NDArray[np.bool_],
) -> None:
    """Equation 8 of the paper for every n-gram in contexts; least_loss in nats a word."""
    for context in range(first, last):
        begin, end = begins[context], begins[context + 1]
        left, below = _unseen_mass(suffixes, kept, probs, lower, begin, end)
        for i in range(begin, end):
            if not kept[i] or _any(longer_kept, longer_begins, i):
                continue
            below_after = below + lower[suffixes[i]]
            if below_after < NO_MASS or lower[suffixes[i]] == 0:
                continue
            backoff_after = (left + probs[i]) / below_after
            gain = probs[i] * math.log(lower[suffixes[i]] * backoff_after / probs[i])
            if left > 0 and below > NO_MASS:
                gain += left * math.log(backoff_after * below / left)
            if -context_probs[context] * gain < least_loss:
                kept[i] = False


@kernel
def _any(flags: NDArray[np.bool_], begins: NDArray[np.int64], group: int) -> bool:
    if begins.size == 0:
        return False
    for i in range(begins[group], begins[group + 1]):  # noqa: SIM110 kernels have no generators
        if flags[i]:
            return True
    return False


@kernel
def _renormalize(
    begins: NDArray[np.int64],
    suffixes: NDArray[np.uint32],
    kept: NDArray[np.bool_],
    lower: NDArray[np.float64],
    first: int,
    last: int,
    probs: NDArray[np.float64],
    backoffs: NDArray[np.float64],
) -> None:
    """Set back-off weights, and the probabilities of what is left out to what backing off gives."""
    for context in range(first, last):
        begin, end = begins[context], begins[context + 1]
        left, below = _unseen_mass(suffixes, kept, probs, lower, begin, end)
        backoffs[context] = left / below if below > NO_MASS else 1.0
        for i in range(begin, end):
            if not kept[i]:
                probs[i] = backoffs[context] * lower[suffixes[i]]
