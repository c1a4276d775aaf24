"""The next token of each row, by the row's own settings, in compiled loops that copy no row.

What is applied, in this order: bans, and those of ending tokens before the least length; the
repetition penalty; temperature; top-k; top-p; min-p. What is left is normalized, and the token is
the first at which the sum of probabilities by id exceeds the row's uniform random number. The
penalty multiplies log-probabilities, as CTRL does with negative logits (Keskar et al. 2019, and
divides those above 0). The log-probability that is returned is the model's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import i64, inline, kernel, u64
from lmscore.models.decoding.cuts import EVERY_ID, cut, kth_largest
from lmscore.models.decoding.weights import (
    BLOCK,
    LogProbs,
    Scratch,
    block_maxima,
    keep_from,
    weigh_all,
    weigh_from,
)

NO_TOKEN = -1
"""Chosen where no token is possible."""

_MIN_SHARPNESS = 1e-8  # of the highest temperatures: less likely tokens still weigh less
_MAX_SHARPNESS = 1e300  # of a temperature next to 0: finite, so that it times 0 is 0


class Filters(NamedTuple):
    """Settings of sampling, one element a row. Greedy choice is a top_k of 1."""

    temperatures: NDArray[np.float64]
    top_ks: NDArray[np.int64]  # 0: all
    top_ps: NDArray[np.float64]
    min_ps: NDArray[np.float64]


class IdLists(NamedTuple):
    """A list of token ids a row: those of row i are ids[i, :counts[i]], then -1."""

    ids: NDArray[np.int64]  # (rows, longest)
    counts: NDArray[np.int64]  # (rows,)


class Changes(NamedTuple):
    """What is to be changed in the rows of log-probabilities before choosing."""

    penalties: NDArray[np.float64]  # (rows,) 1: none
    seen: IdLists  # distinct ids that the penalty is for
    banned: IdLists
    ends: IdLists  # tokens that end a text
    ends_banned: NDArray[np.bool_]  # (rows,)


def select_tokens(
    log_probs: LogProbs,
    rows: NDArray[np.int64],
    filters: Filters,
    changes: Changes,
    uniforms: NDArray[np.float64],
    scratch: Scratch,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Tokens of some rows and their log-probabilities: (chosen rows,) each.

    filters, changes and uniforms are for all rows. log_probs is changed and put back meanwhile.
    """
    tokens = np.empty(len(rows), np.int64)
    chosen = np.empty(len(rows))
    saved = saved_values(changes)
    _select(log_probs, rows, filters, changes, uniforms, scratch, saved, tokens, chosen)
    return tokens, chosen


def saved_values(changes: Changes) -> NDArray[np.float64]:
    """Memory for the values that are changed in a row."""
    lists = (changes.seen, changes.banned, changes.ends)
    return np.empty(sum(each.ids.shape[1] for each in lists))


@kernel
def _select(
    log_probs: LogProbs,
    rows: NDArray[np.int64],
    filters: Filters,
    changes: Changes,
    uniforms: NDArray[np.float64],
    scratch: Scratch,
    saved: NDArray[np.float64],
    tokens: NDArray[np.int64],
    chosen: NDArray[np.float64],
) -> None:
    for i in range(rows.size):
        row = rows[i]
        change_row(log_probs, row, changes, saved)
        token = _choose(log_probs, row, filters, uniforms[row], scratch)
        restore_row(log_probs, row, changes, saved)
        tokens[i] = token
        chosen[i] = log_probs[row, token] if token >= 0 else -np.inf


@kernel
def change_row(log_probs: LogProbs, row: int, changes: Changes, saved: NDArray[np.float64]) -> None:
    """Apply penalty and bans to a row, and save what they replace."""
    count = 0
    penalty = changes.penalties[row]
    for i in range(changes.seen.counts[row]):
        token = changes.seen.ids[row, i]
        log_prob = log_probs[row, token]
        saved[count] = log_prob
        count += 1
        log_probs[row, token] = log_prob * penalty if log_prob <= 0 else log_prob / penalty
    for i in range(changes.banned.counts[row]):
        token = changes.banned.ids[row, i]
        saved[count] = log_probs[row, token]
        count += 1
        log_probs[row, token] = -np.inf
    if changes.ends_banned[row]:
        for i in range(changes.ends.counts[row]):
            token = changes.ends.ids[row, i]
            saved[count] = log_probs[row, token]
            count += 1
            log_probs[row, token] = -np.inf


@kernel
def restore_row(
    log_probs: LogProbs, row: int, changes: Changes, saved: NDArray[np.float64]
) -> None:
    """Undo change_row, backwards, since a token may be in several lists."""
    count = changes.seen.counts[row] + changes.banned.counts[row]
    if changes.ends_banned[row]:
        count += changes.ends.counts[row]
        for i in range(changes.ends.counts[row] - 1, -1, -1):
            count -= 1
            log_probs[row, changes.ends.ids[row, i]] = saved[count]
    for i in range(changes.banned.counts[row] - 1, -1, -1):
        count -= 1
        log_probs[row, changes.banned.ids[row, i]] = saved[count]
    for i in range(changes.seen.counts[row] - 1, -1, -1):
        count -= 1
        log_probs[row, changes.seen.ids[row, i]] = saved[count]


@kernel
def _choose(
    log_probs: LogProbs, row: int, filters: Filters, uniform: float, scratch: Scratch
) -> Any:
    peak = block_maxima(log_probs, row, scratch.maxima, scratch.lanes)
    if not peak > -np.inf:
        return NO_TOKEN
    k = filters.top_ks[row]
    if k == 1:
        return _first_at(log_probs, row, peak, scratch)
    total = _weigh(log_probs, row, filters, peak, scratch)
    if scratch.maxima.size < k < log_probs.shape[1]:
        total = cut(scratch, float(k), True)
    if filters.top_ps[row] < 1.0:
        total = cut(scratch, filters.top_ps[row] * total, False)
    if filters.min_ps[row] > 0.0:
        total = keep_from(scratch, filters.min_ps[row], EVERY_ID)  # the likeliest weighs 1
    return _draw(scratch, uniform * total)


@kernel
def _weigh(log_probs: LogProbs, row: int, filters: Filters, peak: float, scratch: Scratch) -> float:
    """Weigh the tokens that may be chosen: all, or few if top-k or min-p is strict."""
    sharpness = min(max(1.0 / filters.temperatures[row], _MIN_SHARPNESS), _MAX_SHARPNESS)
    k, min_p = filters.top_ks[row], filters.min_ps[row]
    if 0 < k <= scratch.maxima.size:
        floor, last = kth_largest(log_probs, row, k, scratch)
        return weigh_from(log_probs, row, peak, sharpness, floor, last, scratch)
    if k == 0 and filters.top_ps[row] == 1.0 and min_p > 0.0:
        floor = peak + (np.log(min_p) - 1e-6) / sharpness  # a little lower; keep_from is exact
        return weigh_from(log_probs, row, peak, sharpness, floor, EVERY_ID, scratch)
    return weigh_all(log_probs, row, peak, sharpness, scratch)


@inline
def _first_at(log_probs: LogProbs, row: int, peak: float, scratch: Scratch) -> Any:
    """The lowest id with the highest log-probability."""
    size = u64(log_probs.shape[1])
    for block in range(u64(scratch.maxima.size)):
        if scratch.maxima[block] == peak:
            for token in range(block * BLOCK, min((block + u64(1)) * BLOCK, size)):
                if log_probs[row, token] == peak:
                    return i64(token)
    return NO_TOKEN


@inline
def _draw(scratch: Scratch, goal: float) -> Any:
    """The first token at which the sum of the weights exceeds a goal below their total."""
    reached = 0.0
    chosen = i64(NO_TOKEN)
    for block in range(u64(scratch.sums.size)):
        total = scratch.sums[block]
        if total == 0.0:
            continue
        if reached + total > goal or chosen == NO_TOKEN:
            within = reached
            for token in range(block * BLOCK, (block + u64(1)) * BLOCK):
                weight = scratch.weights[token]
                if weight > 0.0:
                    chosen = i64(token)
                    within += weight
                    if within > goal:
                        return chosen
        reached += total
        if reached > goal:
            return chosen  # a block's sum and the sum along it differ in the last bit
    return _last_weighed(scratch)


@inline
def _last_weighed(scratch: Scratch) -> int:
    """The token that rounding ran past."""
    for back in range(scratch.weights.size):
        token = scratch.weights.size - 1 - back
        if scratch.sums[token // 64] > 0.0 and scratch.weights[token] > 0.0:
            return token
    return NO_TOKEN
