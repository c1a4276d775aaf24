"""Ranks lists by the log-probabilities of any number of models and the lists' own scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lmscore.client.nbest_formats.values import SCORE, words
from lmscore.client.requests import NBestList, RescoreWeights
from lmscore.client.results import Ranking, RescoredList


@dataclass(frozen=True, slots=True)
class CombinationWeights:
    """How a hypothesis' total is made up of what several models and the lists say.

    The sum over models of ``models[name] * log_prob``, plus ``length_bonus * words - oov_penalty *
    oov_count``, plus the sum of ``features[name] * value``. OOV tokens are those of the first
    model; ``oov_penalties`` are for those of each model, by name. A weight that is not given is 1,
    a penalty 0; but where lists have a "score", which already sums up their other features, those
    without a weight do not count.
    """

    models: Mapping[str, float] = field(default_factory=dict)
    features: Mapping[str, float] = field(default_factory=dict)
    length_bonus: float = 0.0
    oov_penalty: float = 0.0
    oov_penalties: Mapping[str, float] = field(default_factory=dict)

    def of_model(self, name: str) -> float:
        """The factor of a model's log-probability."""
        return self.models.get(name, 1.0)

    def of_feature(self, name: str, features: Mapping[str, float]) -> float:
        """The factor of a feature among those of its hypothesis."""
        return self.features.get(name, 1.0 if name == SCORE or SCORE not in features else 0.0)

    def for_server(self, model: str, features: Mapping[str, float]) -> RescoreWeights:
        """The same for one model and lists with these features."""
        factors = {name: self.of_feature(name, features) for name in features}
        return RescoreWeights(
            self.of_model(model),
            self.length_bonus,
            self.oov_penalty + self.oov_penalties.get(model, 0.0),
            {**self.features, **factors},
        )


def combined(
    nbest: NBestList, answers: Mapping[str, RescoredList], weights: CombinationWeights
) -> Ranking:
    """A list's ranking, as the server would do it: equal totals keep the list's order."""
    totals = [_total(nbest, i, answers, weights) for i in range(len(nbest.hypotheses))]
    order = sorted(range(len(totals)), key=lambda i: -totals[i])  # stable
    return Ranking(tuple(order), tuple(totals))


def _total(
    nbest: NBestList,
    index: int,
    answers: Mapping[str, RescoredList],
    weights: CombinationWeights,
) -> float:
    hypothesis = nbest.hypotheses[index]
    first = next(iter(answers.values()))
    total = (
        weights.length_bonus * len(words(hypothesis.text))
        - weights.oov_penalty * first.oov_counts[index]
        + sum(
            weights.of_feature(name, hypothesis.features) * value
            for name, value in hypothesis.features.items()
        )
    )
    for name, answer in answers.items():
        total -= weights.oov_penalties.get(name, 0.0) * answer.oov_counts[index]
        factor = weights.of_model(name)
        if factor:  # a weight of 0 leaves the model out, also where it says -inf
            total += factor * answer.log_probs[index]
    return -math.inf if math.isnan(total) else total  # impossible by two models at odds


def log_probs(answers: Mapping[str, RescoredList], index: int) -> dict[str, float]:
    """What each model says of a hypothesis."""
    return {name: answer.log_probs[index] for name, answer in answers.items()}


def unknown_features(nbest: NBestList, names: Sequence[str]) -> list[str]:
    """Those of the names that are no feature of any of the list's hypotheses."""
    return [name for name in names if not any(name in h.features for h in nbest.hypotheses)]


def given_best(nbest: NBestList) -> int:
    """The choice of whoever made the list: the best score, or what stands first without one."""
    scores = [each.features.get(SCORE, 0.0) for each in nbest.hypotheses]
    return max(range(len(scores)), key=scores.__getitem__)  # the first of equals
