"""Ranks the hypotheses of n-best lists by weighted sums of their scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Weights:
    """One weight setting; all finite."""

    lm: float  # factor of the log-probability in nats
    length_bonus: float  # added for every word
    oov_penalty: float  # subtracted for every out-of-vocabulary token
    features: NDArray[np.float64]  # (features,)


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """What is known of the hypotheses of one list."""

    log_probs: NDArray[np.float64]  # (hypotheses,) nats, -inf allowed
    word_counts: NDArray[np.int64]  # (hypotheses,)
    oov_counts: NDArray[np.int64]  # (hypotheses,)
    features: NDArray[np.float64]  # (hypotheses, features) finite


def rank(hypotheses: Hypotheses, weights: Weights) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Indices best first, and totals in the list's order; equal totals keep the list's order."""
    totals = (
        weights.length_bonus * hypotheses.word_counts
        - weights.oov_penalty * hypotheses.oov_counts
        + hypotheses.features @ weights.features
    )
    if weights.lm:  # a weight of 0 leaves the model out, also where it says -inf
        totals = totals + weights.lm * hypotheses.log_probs
    return np.argsort(-totals, kind="stable"), totals
