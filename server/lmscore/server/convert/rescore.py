"""Rescore: n-best lists to one batch, its scores to rankings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.models.language_model import BatchScores, ScoreBatch, Texts
from lmscore.server.convert.items import (
    ItemErrors,
    Limits,
    check_count,
    check_reply_size,
    check_size,
    identity,
    item_error,
)
from lmscore.server.errors import InvalidFieldError
from lmscore.server.ranking import Hypotheses, Weights, rank
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire

MAX_MAGNITUDE = 1e100
"""Of weights and features, so that no sum of their products overflows and NaN cannot arise."""

BYTES_OF_HYPOTHESIS, BYTES_OF_TOTAL, BYTES_OF_RANKING = 16, 11, 12  # at most, in a reply


@dataclass(frozen=True, slots=True)
class Part:
    """Hypotheses that have their context in common, which is so read only once."""

    batch: ScoreBatch
    hypotheses: NDArray[np.int64]  # which of all hypotheses they are


@dataclass(frozen=True, slots=True)
class RescoreWork:
    """The hypotheses of all lists that can be scored."""

    parts: list[Part]
    bounds: list[tuple[int, int]]  # of the hypotheses of each list without an error
    features: list[NDArray[np.float64]]  # (hypotheses, features) of each list without an error
    weights: list[Weights]
    word_counts: NDArray[np.int64]  # (hypotheses,) of all those lists
    errors: ItemErrors


def rescore_work(request: wire.RescoreRequest, limits: Limits) -> RescoreWork:
    """Check a request; InvalidFieldError for what concerns it as a whole."""
    if not request.lists:
        raise InvalidFieldError("lists", "at least one list is required")
    count = sum(len(nbest.hypotheses) for nbest in request.lists)
    check_count("lists: hypotheses", count, limits)
    weights = _weights(request, limits)
    bytes_each = BYTES_OF_HYPOTHESIS + BYTES_OF_TOTAL * len(weights)
    size = count * bytes_each + BYTES_OF_RANKING * len(request.lists) * len(weights)
    check_reply_size("weights", size, limits)
    errors: ItemErrors = {}
    texts: list[str] = []
    by_context: dict[str, list[int]] = {}
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
        by_context.setdefault(nbest.context, []).extend(range(*bounds[-1]))
    parts = [_part(context, places, texts) for context, places in by_context.items()]
    words = Texts.from_strings(texts).word_counts()
    return RescoreWork(parts, bounds, features, weights, words, errors)


def _part(context: str, places: list[int], texts: list[str]) -> Part:
    items = Texts.from_strings([texts[place] for place in places])
    contexts = Texts.from_strings([context]) if context else None
    return Part(ScoreBatch(items, contexts), np.array(places))


def _weights(request: wire.RescoreRequest, limits: Limits) -> list[Weights]:
    names = list(request.feature_names)
    if len(set(names)) < len(names):
        raise InvalidFieldError("feature_names", "a name stands there twice")
    if not request.weights:
        raise InvalidFieldError("weights", "at least one weight setting is required")
    if len(request.weights) > limits.max_weights:
        problem = f"{len(request.weights)} settings are over the limit of {limits.max_weights}"
        raise InvalidFieldError("weights", problem)
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
            _check_number(f"weights[{i}].{name}", value)
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


def _check_number(path: str, value: float) -> None:
    if not math.isfinite(value):
        raise InvalidFieldError(path, f"{value} is not a finite number")
    if abs(value) > MAX_MAGNITUDE:
        raise InvalidFieldError(path, f"{value} is beyond {MAX_MAGNITUDE:g}, where sums overflow")


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
            _check_number(f"{place}.features[{k}]", value)
    values = [list(hypothesis.features) for hypothesis in nbest.hypotheses]
    return np.array(values, np.float64).reshape(len(nbest.hypotheses), feature_count)


def rescore_response(
    model: ServedModel,
    request: wire.RescoreRequest,
    work: RescoreWork,
    part_scores: Sequence[BatchScores],
) -> wire.RescoreResponse:
    """Figures and rankings of each list, in the order of the request."""
    scores = _joined(work, part_scores)
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


def _joined(work: RescoreWork, part_scores: Sequence[BatchScores]) -> BatchScores:
    """The scores of all hypotheses, in the order of the lists."""
    count = len(work.word_counts)
    joined = BatchScores(
        np.empty(count), np.empty(count), np.empty(count, np.int64), np.empty(count, np.int64)
    )
    for part, scores in zip(work.parts, part_scores, strict=True):
        joined.log_probs[part.hypotheses] = scores.log_probs
        joined.log_probs_excluding_oov[part.hypotheses] = scores.log_probs_excluding_oov
        joined.token_counts[part.hypotheses] = scores.token_counts
        joined.oov_counts[part.hypotheses] = scores.oov_counts
    return joined
