"""Tokenize: texts to a batch, its tokens to messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmscore.models.language_model import LanguageModel, Texts, TokenizedTexts
from lmscore.server.convert.items import (
    BYTES_OF_TOKEN,
    ItemErrors,
    Limits,
    check_count,
    check_reply_size,
    identity,
    item_error,
    name_empty,
    surfaces,
    text_items,
    token_count,
    wire_ids,
)
from lmscore.server.errors import InvalidFieldError
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire


def tokenize_work(
    request: wire.TokenizeRequest, limits: Limits, model: LanguageModel[Any]
) -> tuple[Texts, list[str], ItemErrors]:
    """The texts that can be split, and the errors of the others. Raises InvalidFieldError."""
    if not request.texts:
        raise InvalidFieldError("texts", "at least one text is required")
    check_count("texts", len(request.texts), limits)
    texts, strings, errors = text_items("texts", request.texts, limits)
    enough = limits.max_reply_bytes // (BYTES_OF_TOKEN + 1)
    size = token_count(model, texts, enough) * BYTES_OF_TOKEN + int(texts.offsets[-1])
    check_reply_size("texts", size, limits)
    return texts, strings, errors


def tokenize_response(
    model: ServedModel, strings: Sequence[str], tokenized: TokenizedTexts, errors: ItemErrors
) -> wire.TokenizeResponse:
    """Tokens in the order of the request, errors in their places."""
    response = wire.TokenizeResponse(model=identity(model))
    accepted = iter(range(len(strings)))
    for i in range(len(strings) + len(errors)):
        if i in errors:
            response.texts.add(error=item_error(errors[i]))
            continue
        text = next(accepted)
        tokens = slice(tokenized.offsets[text], tokenized.offsets[text + 1])
        begins = tokenized.begin_bytes[tokens].tolist()
        ends = tokenized.end_bytes[tokens].tolist()
        ids = wire_ids(tokenized.token_ids[tokens])
        texts = surfaces(strings[text].encode(), begins, ends)
        name_empty(texts, ids, model.model.vocabulary)
        response.texts.add(
            tokens=texts,
            token_ids=ids,
            begin_bytes=begins,
            end_bytes=ends,
            oov=tokenized.oov[tokens].tolist(),
        )
    return response
