"""The weights of a combination as the numbers that are searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np

from lmscore.client.combination import CombinationWeights
from lmscore.client.nbest_formats.values import SCORE, words
from lmscore.client.requests import NBestList
from lmscore.client.results import RescoredList
from lmscore.client.tuning.candidates import Candidates, Floats
from lmscore.client.tuning.line_search import Error
from lmscore.client.tuning.search import Space, natural_sizes, total_error

LENGTH, OOV = "length_bonus", "oov_penalty"
FeatureChoice = Literal["score", "all"]

REACH = 50.0
WINDOW = 0.25
PENALTY = 0.015
"""All in natural sizes of a weight: how far it may go; half the window that errors are averaged
over; the share of the start's error that going so far has to gain, for a weight of no model."""


class Kind(Enum):
    """What a weight is a factor of."""

    FEATURE = "feature"
    MODEL = "model"
    OOV = "OOV penalty"
    LENGTH = "length bonus"


@dataclass(frozen=True)
class Parameter:
    """One weight: of a feature or model of that name, of its OOV tokens, or of words."""

    kind: Kind
    name: str
    start: float = 0.0
    free: bool = True

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.kind.value} {self.name}".rstrip()


def parameters_of(
    lists: Sequence[NBestList],
    models: Sequence[str],
    fixed: Mapping[str, float],
    choice: FeatureChoice,
) -> list[Parameter]:
    """What there is to weight: the lists' features, models, their OOV tokens, and words.

    The first of all does not move, because only proportions matter. ValueError for names in
    ``fixed`` of which there is nothing.
    """
    features = dict.fromkeys(
        (n for each in lists for h in each.hypotheses for n in h.features), 0.0
    )
    names = sorted(features, key=lambda name: name != SCORE)  # a score first, then the lists' order
    _check(fixed, models, names)
    usual = CombinationWeights()
    found = [
        Parameter(Kind.FEATURE, name, usual.of_feature(name, features), free=choice == "all")
        for name in names
        if choice == "all" or name in fixed or usual.of_feature(name, features)
    ]
    found += [Parameter(Kind.MODEL, name) for name in models]
    if OOV in fixed:  # as rescore has it, where it is the first model's
        found += [Parameter(Kind.OOV, models[0], fixed[OOV], free=False)]
    else:
        found += [Parameter(Kind.OOV, name) for name in models]
    found.append(Parameter(Kind.LENGTH, "", fixed.get(LENGTH, 0.0), free=LENGTH not in fixed))
    first = found[0]
    found[0] = Parameter(first.kind, first.name, 1.0, free=False)
    return [_fixed(each, fixed) for each in found]


def _check(fixed: Mapping[str, float], models: Sequence[str], features: Sequence[str]) -> None:
    both = sorted({*models} & {*features})
    if both:
        raise ValueError(f"{both[0]} is the name of a model and of a feature of the lists")
    known = [*models, *features, LENGTH, OOV]
    for name in fixed:
        if name not in known:
            raise ValueError(f"no weight is called {name}; there are {', '.join(known)}")


def _fixed(parameter: Parameter, fixed: Mapping[str, float]) -> Parameter:
    if parameter.kind in (Kind.FEATURE, Kind.MODEL) and parameter.name in fixed:
        return Parameter(parameter.kind, parameter.name, fixed[parameter.name], free=False)
    return parameter


def values(
    parameters: Sequence[Parameter], nbest: NBestList, answers: Mapping[str, RescoredList]
) -> Floats:
    """What each weight is a factor of. Shape (hypotheses, parameters)."""
    columns = [_column(each, nbest, answers) for each in parameters]
    return np.array(columns, float).T


def _column(
    parameter: Parameter, nbest: NBestList, answers: Mapping[str, RescoredList]
) -> Sequence[float]:
    match parameter.kind:
        case Kind.FEATURE:
            return [each.features.get(parameter.name, 0.0) for each in nbest.hypotheses]
        case Kind.MODEL:
            return answers[parameter.name].log_probs
        case Kind.OOV:
            return [-count for count in answers[parameter.name].oov_counts]
        case Kind.LENGTH:
            return [len(words(each.text)) for each in nbest.hypotheses]


def space_of(parameters: Sequence[Parameter], candidates: Candidates, error: Error) -> Space:
    """Where to search, by what it takes to change winners."""
    start = np.array([each.start for each in parameters])
    sizes = natural_sizes(candidates, start)
    free = np.array([each.free for each in parameters]) & (sizes > 0)
    reach = np.where(free, REACH * sizes, 0.0)
    is_model = np.array([each.kind is Kind.MODEL for each in parameters])
    low = np.where(is_model & free, 0.0, start - reach)
    size_or_1 = np.where(sizes > 0, sizes, 1.0)
    penalties = PENALTY * total_error(candidates, start, error) / size_or_1
    return Space(
        start, low, start + reach, WINDOW * sizes, np.where(free & ~is_model, penalties, 0.0)
    )


def combination(parameters: Sequence[Parameter], weights: Floats) -> CombinationWeights:
    """The same weights by name."""
    by_kind: dict[Kind, dict[str, float]] = {kind: {} for kind in Kind}
    for parameter, weight in zip(parameters, weights, strict=True):
        by_kind[parameter.kind][parameter.name] = float(weight)
    models = by_kind[Kind.MODEL]
    penalties = by_kind[Kind.OOV]
    one = len(penalties) == 1 and next(iter(penalties)) == next(iter(models))
    return CombinationWeights(
        models,
        by_kind[Kind.FEATURE],
        by_kind[Kind.LENGTH].get("", 0.0),
        next(iter(penalties.values())) if one else 0.0,
        {} if one else penalties,
    )
