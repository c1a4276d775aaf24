"""What people should know before they use tuned weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lmscore.client.tuning.candidates import Floats
from lmscore.client.tuning.parameters import REACH, Kind, Parameter
from lmscore.client.tuning.search import Space

FEW_LISTS = 100
SMALL = 0.02
"""Of a natural size: a weight as small as this changes next to nothing."""


def advice(
    parameters: Sequence[Parameter],
    space: Space,
    weights: Floats,
    lists: int,
    errors: Floats,
    interval: tuple[float, float],
) -> Iterator[str]:
    """Warnings, in words; errors are of the given best, tuned, cross-validated and oracle.

    The interval is that of what cross-validated errors gain.
    """
    if lists < FEW_LISTS:
        yield f"only {lists} lists have a reference: weights and figures are rough"
    given, _, validated, oracle = errors
    if oracle >= given:
        yield "no list has a hypothesis better than its first: there is nothing to gain"
        return
    sizes = (space.high - space.start) / REACH
    for parameter, weight, size in zip(parameters, weights, sizes, strict=True):
        if parameter.kind is Kind.MODEL and parameter.free and abs(weight) <= SMALL * size:
            yield f"model {parameter.name} does not help: its best weight is about 0"
    for i in space.free:
        if weights[i] >= 0.99 * space.high[i] or weights[i] <= 0.99 * space.low[i] < 0:
            yield (
                f"{parameters[i].title} is at the border of what was tried, {weights[i]:g}: "
                "the list's own score hardly counts beside it"
            )
    if validated >= given:
        yield "on lists that they were not tuned on, the weights do not help"
    elif np.sign(interval[0]) != np.sign(interval[1]):
        yield "what is gained may be chance: its 95 % interval includes 0"
