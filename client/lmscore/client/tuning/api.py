"""From lists with references, and what models say of them, to weights and how good they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lmscore.client.combination import CombinationWeights, given_best
from lmscore.client.requests import NBestList
from lmscore.client.results import RescoredList
from lmscore.client.tuning.advice import advice
from lmscore.client.tuning.candidates import Candidates, Floats, candidates
from lmscore.client.tuning.curves import Curve, curves
from lmscore.client.tuning.error_metrics import METRICS, ErrorMetric
from lmscore.client.tuning.parameters import (
    FeatureChoice,
    Kind,
    Parameter,
    combination,
    parameters_of,
    space_of,
    values,
)
from lmscore.client.tuning.search import search, total_error
from lmscore.client.tuning.validation import cross_validated, oracle, resampled


@dataclass(frozen=True)
class Score:
    """A metric's value, in the numbers people know, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Tuning:
    """Weights, and how well lists are ranked with them."""

    metric: str
    lists: int  # with a reference; only they count
    lists_without_reference: int
    folds: int
    weights: CombinationWeights
    best_given: Score  # what the lists rank first
    tuned: Score  # on the lists that were tuned on
    cross_validated: Score  # on lists that were not, with weights tuned on the other folds
    gain: Score  # cross-validated minus given; less is better where it is for the metric
    oracle: Score  # the best hypothesis of every list
    warnings: tuple[str, ...]
    curves: Mapping[str, Curve] = field(repr=False, compare=False)  # by model


def steps_of(folds: int, models: int, restarts: int) -> int:
    """How many times `tune` reports."""
    return (folds + 1) * (1 + (models if models > 1 else 0) + restarts)


def tune(
    lists: Sequence[NBestList],
    answers: Mapping[str, Sequence[RescoredList]],
    *,
    metric: str = "wer",
    folds: int = 5,
    restarts: int = 4,
    seed: int = 0,
    fixed: Mapping[str, float] | None = None,
    features: FeatureChoice = "score",
    report: Callable[[], None] = lambda: None,
) -> Tuning:
    """Tune the weights of some models on lists, and judge them by cross-validation.

    Answers has what each model says of all lists, in their order. Metric is one of METRICS. Weights
    in ``fixed``, by the name of a model or feature, "length_bonus" or "oov_penalty", stay as they
    are; of the lists' own features, only "all" moves any. ValueError for what cannot be tuned.
    """
    judged = [i for i, each in enumerate(lists) if each.reference is not None and each.hypotheses]
    if len(judged) < folds:
        raise ValueError(f"{len(judged)} lists have a reference; {folds} folds need as many")
    parameters = parameters_of(lists, list(answers), fixed or {}, features)
    measured = METRICS[metric]
    given = [lists[i] for i in judged]
    said = [{name: each[i] for name, each in answers.items()} for i in judged]
    problem = _Problem(
        measured,
        parameters,
        candidates(
            [values(parameters, *each) for each in zip(given, said, strict=True)],
            [_statistics(measured, each) for each in given],
        ),
        restarts,
        seed,
        report,
    )
    best_given = np.array([given_best(each) for each in given])
    left_out = len(lists) - len(judged)
    return problem.solved(folds, best_given, left_out)


def _statistics(metric: ErrorMetric, nbest: NBestList) -> Floats:
    return metric.statistics(nbest.reference or "", [each.text for each in nbest.hypotheses])


@dataclass(frozen=True)
class _Problem:
    """The same in numbers."""

    metric: ErrorMetric
    parameters: Sequence[Parameter]
    candidates: Candidates
    restarts: int
    seed: int
    report: Callable[[], None]

    def solved(self, folds: int, best_given: NDArray[np.intp], left_out: int) -> Tuning:
        lists, error = self.candidates, self.metric.error
        weights = self.weights(lists)
        random = np.random.default_rng(self.seed)
        choices = [
            lists.chosen(best_given),
            lists.chosen(lists.choose(weights)),
            cross_validated(lists, self.weights, folds, random),
            lists.chosen(oracle(lists, error)),
        ]
        errors = error(np.stack([each.sum(axis=0) for each in choices]))
        # The first column is of all lists, the others are of samples of them.
        scores = self.metric.score(np.column_stack((errors, resampled(choices, error, random))))
        given, tuned, validated, best = map(_score, scores)
        gain = _score(scores[2] - scores[0])
        space = space_of(self.parameters, lists, error)
        interval = (gain.low, gain.high)
        warnings = advice(self.parameters, space, weights, lists.lists, errors, interval)
        return Tuning(
            metric=self.metric.name,
            lists=lists.lists,
            lists_without_reference=left_out,
            folds=folds,
            weights=combination(self.parameters, weights),
            best_given=given,
            tuned=tuned,
            cross_validated=validated,
            gain=gain,
            oracle=best,
            warnings=tuple(warnings),
            curves=curves(self.parameters, lists, self.metric, space, weights),
        )

    def weights(self, lists: Candidates) -> Floats:
        """The best weights for some lists, in few digits if that costs nothing."""
        space = space_of(self.parameters, lists, self.metric.error)
        models = [i for i, each in enumerate(self.parameters) if each.kind is Kind.MODEL]
        random = np.random.default_rng(self.seed)
        found = search(lists, self.metric.error, space, models, self.restarts, random, self.report)
        short = np.array(
            [
                float(f"{each:.4g}") if parameter.free else each
                for each, parameter in zip(found, self.parameters, strict=True)
            ]
        )
        errors = [total_error(lists, each, self.metric.error) for each in (short, found)]
        return short if errors[0] <= errors[1] else found


def _score(figures: Floats) -> Score:
    """The first one, and the interval of the others."""
    low, high = np.quantile(figures[1:], [0.025, 0.975])
    return Score(float(figures[0]), float(low), float(high))
