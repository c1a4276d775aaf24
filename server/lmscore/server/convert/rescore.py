"""Rescore: n-best lists to one batch, its scores to rankings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.models.language_model import BatchScores, ScoreBatch, Texts
from lmscore.server.convert.items import (
    ItemErrors,
    Limits,
    check_count,
    check_size,
    identity,
    item_error,
)
from lmscore.server.errors import InvalidFieldError
from lmscore.server.ranking import Hypotheses, Weights, rank
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire


@dataclass(frozen=True, slots=True)
class RescoreWork:
    """The hypotheses of all lists that can be scored, in one batch."""

    batch: ScoreBatch
    bounds: list[tuple[int, int]]  # begin and end in the batch, of each list without an error
    features: list[NDArray[np.float64]]  # (hypotheses, features) of each list without an error
    weights: list[Weights]
    word_counts: NDArray[np.int64]  # (hypotheses of the batch,)
    errors: ItemErrors


def rescore_work(request: wire.RescoreRequest, limits: Limits) -> RescoreWork:
    """Check a request; InvalidFieldError for what concerns it as a whole."""
    if not request.lists:
        raise InvalidFieldError("lists", "at least one list is required")
    count = sum(len(nbest.hypotheses) for nbest in request.lists)
    check_count("lists: hypotheses", count, limits)
    weights = _weights(request)
    errors: ItemErrors = {}
    texts: list[str] = []
    contexts: list[str] = []
    bounds: list[tuple[int, int]] = []
    features: list[NDArray[np.float64]] = []
    for i, nbest in enumerate(request.lists):
        try:
            values = _check_list(f"lists[{i}]", nbest, len(request.feature_names), limits)
        except InvalidFieldError as error:
            errors[i] = error
            continue
        bounds.append((len(texts), len(texts) + len(nbest.hypotheses)))
        features.append(values)
        texts.extend(hypothesis.text for hypothesis in nbest.hypotheses)
        contexts.extend([nbest.context] * len(nbest.hypotheses))
    items = Texts.from_strings(texts)
    batch = ScoreBatch(items, Texts.from_strings(contexts) if any(contexts) else None)
    return RescoreWork(batch, bounds, features, weights, items.word_counts(), errors)


def _weights(request: wire.RescoreRequest) -> list[Weights]:
    names = list(request.feature_names)
    if len(set(names)) < len(names):
        raise InvalidFieldError("feature_names", "a name stands there twice")
    if not request.weights:
        raise InvalidFieldError("weights", "at least one weight setting is required")
    settings = []
    for i, message in enumerate(request.weights):
        for name in message.feature_weights:
            if name not in names:
                path = f"weights[{i}].feature_weights[{name}]"
                raise InvalidFieldError(path, "feature_names does not have it")
        values = {
            "lm_weight": message.lm_weight if message.HasField("lm_weight") else 1.0,
            "length_bonus": message.length_bonus,
            "oov_penalty": message.oov_penalty,
        } | {
            f"feature_weights[{name}]": message.feature_weights[name]
            for name in message.feature_weights
        }
        for name, value in values.items():
            if not math.isfinite(value):
                raise InvalidFieldError(f"weights[{i}].{name}", f"{value} is not a finite number")
        factors = [message.feature_weights.get(name, 1.0) for name in names]
        settings.append(
            Weights(
                values["lm_weight"],
                values["length_bonus"],
                values["oov_penalty"],
                np.array(factors, np.float64),
            )
        )
    return settings


def _check_list(
    path: str, nbest: wire.NBestList, feature_count: int, limits: Limits
) -> NDArray[np.float64]:
    """The features of a list's hypotheses: (hypotheses, features). Raises InvalidFieldError."""
    if not nbest.hypotheses:
        raise InvalidFieldError(f"{path}.hypotheses", "at least one hypothesis is required")
    check_size(f"{path}.context", nbest.context, limits)
    for j, hypothesis in enumerate(nbest.hypotheses):
        place = f"{path}.hypotheses[{j}]"
        check_size(f"{place}.text", hypothesis.text, limits)
        if len(hypothesis.features) != feature_count:
            problem = f"{len(hypothesis.features)} values for {feature_count} feature_names"
            raise InvalidFieldError(f"{place}.features", problem)
        for k, value in enumerate(hypothesis.features):
            if not math.isfinite(value):
                raise InvalidFieldError(f"{place}.features[{k}]", f"{value} is not a finite number")
    values = [list(hypothesis.features) for hypothesis in nbest.hypotheses]
    return np.array(values, np.float64).reshape(len(nbest.hypotheses), feature_count)


def rescore_response(
    model: ServedModel, request: wire.RescoreRequest, work: RescoreWork, scores: BatchScores
) -> wire.RescoreResponse:
    """Figures and rankings of each list, in the order of the request."""
    response = wire.RescoreResponse(model=identity(model))
    scored = iter(zip(work.bounds, work.features, strict=True))
    for i, nbest in enumerate(request.lists):
        answer = response.lists.add(id=nbest.id)
        if i in work.errors:
            answer.error.CopyFrom(item_error(work.errors[i]))
            continue
        (begin, end), features = next(scored)
        answer.log_probs.extend(scores.log_probs[begin:end].tolist())
        answer.token_counts.extend(scores.token_counts[begin:end].tolist())
        answer.oov_counts.extend(scores.oov_counts[begin:end].tolist())
        hypotheses = Hypotheses(
            scores.log_probs[begin:end],
            work.word_counts[begin:end],
            scores.oov_counts[begin:end],
            features,
        )
        for weights in work.weights:
            order, totals = rank(hypotheses, weights)
            answer.rankings.add(order=order.tolist(), totals=totals.tolist())
    return response
