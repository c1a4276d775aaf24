"""How the error runs with the weight of one model, the others held: what the picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmscore.client.tuning.candidates import Candidates, Floats
from lmscore.client.tuning.error_metrics import ErrorMetric
from lmscore.client.tuning.line_search import profile
from lmscore.client.tuning.parameters import REACH, Kind, Parameter
from lmscore.client.tuning.search import Space

POINTS = 400
NEAR, FAR = 0.01, 30.0
"""Where a curve begins and ends, in natural sizes of the weight."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The metric at some weights of a model."""

    weights: Floats  # (POINTS,) ascending, in even proportions
    scores: Floats  # (POINTS,)
    chosen: float


def curves(
    parameters: Sequence[Parameter],
    candidates: Candidates,
    metric: ErrorMetric,
    space: Space,
    weights: Floats,
) -> dict[str, Curve]:
    """A curve of each model whose weight was free."""
    found = {}
    for i in space.free:
        if parameters[i].kind is Kind.MODEL:
            size = (space.high[i] - space.start[i]) / REACH
            shown = np.geomspace(NEAR * size, FAR * size, POINTS)
            axis = np.zeros_like(weights)
            axis[i] = 1.0
            errors = profile(candidates, weights, axis, metric.error).at(shown - weights[i])
            found[parameters[i].name] = Curve(shown, metric.score(errors), float(weights[i]))
    return found
