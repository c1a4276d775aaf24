"""Predict: prompts to a batch, distributions to messages."""

from __future__ import annotations

from dataclasses import dataclass

from lmscore.models.distribution import Distributions
from lmscore.models.language_model import Texts
from lmscore.models.vocabulary import Vocabulary
from lmscore.server.convert.items import (
    BYTES_OF_TOKEN,
    ItemErrors,
    Limits,
    check_alternatives,
    check_count,
    check_distributions,
    check_reply_size,
    identity,
    item_error,
    likely_tokens,
    text_items,
)
from lmscore.server.errors import InvalidFieldError
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire

DEFAULT_TOP_K = 10


@dataclass(frozen=True, slots=True)
class PredictWork:
    """The prompts that can be continued, and why the others cannot."""

    prompts: Texts
    top_k: int
    bos: bool
    errors: ItemErrors


def predict_work(
    request: wire.PredictRequest, limits: Limits, vocabulary: Vocabulary
) -> PredictWork:
    """Check a request; InvalidFieldError for what concerns it as a whole."""
    if not request.prompts:
        raise InvalidFieldError("prompts", "at least one prompt is required; it may be empty")
    check_count("prompts", len(request.prompts), limits)
    check_distributions("prompts", len(request.prompts), limits)
    top_k = request.top_k if request.HasField("top_k") else DEFAULT_TOP_K
    told = min(top_k, len(vocabulary))
    check_reply_size("top_k", len(request.prompts) * told * BYTES_OF_TOKEN, limits)
    prompts, _, errors = text_items("prompts", request.prompts, limits)
    return PredictWork(
        prompts,
        check_alternatives("top_k", top_k, limits),
        request.bos if request.HasField("bos") else True,
        errors,
    )


def predict_response(
    model: ServedModel, work: PredictWork, distributions: Distributions
) -> wire.PredictResponse:
    """Predictions in the order of the request, errors in their places."""
    response = wire.PredictResponse(model=identity(model))
    rows = iter(range(len(work.prompts)))
    for i in range(len(work.prompts) + len(work.errors)):
        if i in work.errors:
            response.predictions.add(error=item_error(work.errors[i]))
            continue
        row = next(rows)
        response.predictions.add(
            next=likely_tokens(distributions, row, model.model.vocabulary),
            entropy=distributions.entropies[row],
        )
    return response
