"""Ranks a stream of n-best lists with one model or several, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import tee

from lmscore.client.client import Client
from lmscore.client.combination import CombinationWeights, combined
from lmscore.client.errors import ItemError
from lmscore.client.requests import Hypothesis, NBestList, RescoreWeights
from lmscore.client.results import Answer, ModelIdentity, Ranking, RescoredList


@dataclass(frozen=True, slots=True)
class RankedList:
    """A list, what each model says of its hypotheses, and what follows from that."""

    given: NBestList
    answers: Mapping[str, RescoredList]  # by model
    ranking: Ranking

    @property
    def best(self) -> Hypothesis:
        """The winner."""
        return self.given.hypotheses[self.ranking.best]


@dataclass(frozen=True, slots=True)
class UnrankedList:
    """A list that a model could not answer."""

    given: NBestList
    problem: str


Outcome = RankedList | UnrankedList


@dataclass(frozen=True)
class Rescorer:
    """Asks a server about lists and ranks them.

    A single model ranks lists of uniform features itself; what several say, or what lists of
    varying features come to, is added up here, by the same rules.
    """

    client: Client
    models: Sequence[ModelIdentity]
    weights: CombinationWeights
    batch_hypotheses: int = 2000
    timeout: float | None = None

    def ranked(
        self, lists: Iterable[NBestList], *, uniform: Mapping[str, float] | None
    ) -> Iterator[list[Outcome]]:
        """Batches of lists, in order; ``uniform`` has the names of features that all lists have."""
        if len(self.models) == 1 and uniform is not None:
            return self._ranked_by_server(lists, uniform)
        return self._ranked_here(lists)

    def _ranked_by_server(
        self, lists: Iterable[NBestList], features: Mapping[str, float]
    ) -> Iterator[list[Outcome]]:
        (model,) = self.models
        sent, kept = tee(lists)
        weights = [self.weights.for_server(model.name, features)]
        for answer in self._answers(model, sent, weights):
            yield [
                _unranked(given, outcome)
                if isinstance(outcome, ItemError)
                else RankedList(given, {model.name: outcome}, outcome.rankings[0])
                for outcome, given in zip(answer.outcomes, kept, strict=False)
            ]

    def _ranked_here(self, lists: Iterable[NBestList]) -> Iterator[list[Outcome]]:
        kept, *copies = tee(lists, len(self.models) + 1)
        streams = [
            self._answers(model, map(_without_features, copy), [_ANY_WEIGHTS])
            for model, copy in zip(self.models, copies, strict=True)
        ]
        # The same lists are cut into the same batches for every model.
        for answers in zip(*streams, strict=True):
            count = len(answers[0])
            yield [self._combined(next(kept), i, answers) for i in range(count)]

    def _combined(
        self, given: NBestList, index: int, answers: Sequence[Answer[RescoredList]]
    ) -> Outcome:
        by_model: dict[str, RescoredList] = {}
        for model, answer in zip(self.models, answers, strict=True):
            outcome = answer.outcomes[index]
            if isinstance(outcome, ItemError):
                return _unranked(given, outcome)
            by_model[model.name] = outcome
        return RankedList(given, by_model, combined(given, by_model, self.weights))

    def _answers(
        self, model: ModelIdentity, lists: Iterable[NBestList], weights: Sequence[RescoreWeights]
    ) -> Iterator[Answer[RescoredList]]:
        return self.client.rescore_stream(
            lists,
            weights,
            batch_hypotheses=self.batch_hypotheses,
            timeout=self.timeout,
            model=model.name,
            version=model.version,
        )


_ANY_WEIGHTS = RescoreWeights()  # the ranking is not looked at


def _without_features(nbest: NBestList) -> NBestList:
    hypotheses = tuple(Hypothesis(each.text) for each in nbest.hypotheses)
    return NBestList(nbest.id, hypotheses, context=nbest.context)


def _unranked(given: NBestList, error: ItemError) -> UnrankedList:
    return UnrankedList(given, error.problem)
