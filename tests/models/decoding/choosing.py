"""Choosing from rows with the same settings, and the same by sorting in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmscore.models.decoding.parameters import Sampling
from lmscore.models.decoding.selection import Changes, Filters, IdLists, select_tokens
from lmscore.models.decoding.weights import BLOCK, LogProbs, Scratch


def no_changes(rows: int) -> Changes:
    none = IdLists(np.empty((rows, 0), np.int64), np.zeros(rows, np.int64))
    return Changes(np.ones(rows), none, none, none, np.zeros(rows, np.bool_))


def choose(
    log_probs: LogProbs,
    sampling: Sampling,
    uniforms: NDArray[np.float64],
    changes: Changes | None = None,
) -> NDArray[np.int64]:
    """The tokens of all rows; checks that the rows are as they were, and what was returned."""
    rows = len(log_probs)
    filters = Filters(
        np.full(rows, sampling.temperature),
        np.full(rows, sampling.top_k or 0),
        np.full(rows, sampling.top_p),
        np.full(rows, sampling.min_p),
    )
    before = log_probs.copy()
    scratch = Scratch.of(log_probs.shape[1])
    tokens, chosen = select_tokens(
        log_probs, np.arange(rows), filters, changes or no_changes(rows), uniforms, scratch
    )
    np.testing.assert_array_equal(log_probs, before)
    possible = tokens >= 0
    assert (chosen[possible] == before[possible, tokens[possible]]).all()
    assert (chosen[~possible] == -np.inf).all()
    return tokens


def expected_probs(log_probs: LogProbs, sampling: Sampling) -> NDArray[np.float64]:
    """The distribution that a row is sampled from."""
    scaled = log_probs.astype(np.float64) / sampling.temperature
    probs = np.exp(scaled - scaled.max())
    order = np.argsort(-log_probs.astype(np.float64), kind="stable")  # stable: equal ones by id
    if sampling.top_k:
        probs[order[sampling.top_k :]] = 0
    if sampling.top_p < 1:
        mass = np.cumsum(probs[order])
        probs[order[np.argmax(mass >= sampling.top_p * mass[-1]) + 1 :]] = 0
    probs[probs < sampling.min_p * probs.max()] = 0
    normalized: NDArray[np.float64] = probs / probs.sum()
    return normalized


def kept(log_probs: LogProbs, sampling: Sampling) -> NDArray[np.float64]:
    """What a row is drawn from, as choosing leaves it behind: (tokens,), 0 for what was dropped."""
    row = log_probs[None].copy()
    scratch = Scratch.of(row.shape[1])
    filters = Filters(
        np.array([sampling.temperature]),
        np.array([sampling.top_k or 0]),
        np.array([sampling.top_p]),
        np.array([sampling.min_p]),
    )
    select_tokens(row, np.zeros(1, np.int64), filters, no_changes(1), np.full(1, 0.5), scratch)
    blocks = np.arange(row.shape[1]) // int(BLOCK)
    weights: NDArray[np.float64] = scratch.weights[: row.shape[1]]
    return np.where(scratch.sums[blocks] > 0, weights, 0.0)


def support(log_probs: LogProbs, sampling: Sampling) -> set[int]:
    """The tokens that are drawn from."""
    return set(np.flatnonzero(kept(log_probs, sampling)).tolist())
