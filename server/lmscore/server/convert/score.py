"""Score and ScoreStream: requests to batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.language_model import (
    LanguageModel,
    ScoreBatch,
    Texts,
    TokenSequences,
)
from lmscore.models.vocabulary import BOS, Vocabulary
from lmscore.server.convert.items import (
    BYTES_OF_TOKEN,
    ItemErrors,
    Limits,
    check_alternatives,
    check_count,
    check_distributions,
    check_reply_size,
    short_texts,
    token_count,
    too_long_error,
)
from lmscore.server.convert.score_request import ScoreRequest
from lmscore.server.errors import InvalidFieldError, ServiceError, TextTooLongError
from lmscore.v1 import language_model_service_pb2 as wire

DEFAULT_ALTERNATIVES = 5

_DETAILS = frozenset(wire.ScoreDetail.values())
_DETAILS_OF_TOKENS = frozenset({wire.SCORE_DETAIL_TOKENS, wire.SCORE_DETAIL_FULL})


@dataclass(frozen=True, slots=True)
class ScoreWork:
    """What of a request can be scored, and why the rest cannot."""

    batch: ScoreBatch
    errors: ItemErrors
    tokens: bool  # whether to tell what each token has
    words: bool  # whether to tell what each word has
    alternatives: int | None  # how many in the place of each event; None: not in full detail


def score_work(request: ScoreRequest, limits: Limits, model: LanguageModel[Any]) -> ScoreWork:
    """Check a request; InvalidFieldError for what concerns it as a whole."""
    rest, texts = request.rest, len(request.texts)
    sequences, detail, words = rest.token_sequences, rest.detail, rest.words
    if texts and sequences:
        raise InvalidFieldError("token_sequences", "give texts or token_sequences, not both")
    if not texts and not sequences:
        raise InvalidFieldError("texts", "at least one text is required")
    check_count("texts" if texts else "token_sequences", texts or len(sequences), limits)
    if detail not in _DETAILS:
        raise InvalidFieldError("detail", f"{detail} is not a ScoreDetail")
    if words and not texts:
        raise InvalidFieldError("words", "token sequences have no words; give texts")
    items: Texts | TokenSequences
    if texts:
        items, errors = short_texts("texts", request.texts, limits)
    else:
        items, errors = _token_items(sequences, limits, model.vocabulary)
    batch = ScoreBatch(
        items,
        contexts=shared_context(rest.context, limits),
        bos=rest.bos if rest.HasField("bos") else True,
        eos=rest.eos if rest.HasField("eos") else True,
        per_token=words or detail in _DETAILS_OF_TOKENS,
    )
    alternatives = _alternatives(rest, limits)
    if batch.per_token:
        _check_reply(batch, limits, model, alternatives, words=words)
    return ScoreWork(batch, errors, detail in _DETAILS_OF_TOKENS, words, alternatives)


def _alternatives(request: wire.ScoreRequest, limits: Limits) -> int | None:
    if request.detail != wire.SCORE_DETAIL_FULL:
        return None
    count = request.alternatives if request.HasField("alternatives") else DEFAULT_ALTERNATIVES
    return check_alternatives("alternatives", count, limits)


def _check_reply(
    batch: ScoreBatch,
    limits: Limits,
    model: LanguageModel[Any],
    alternatives: int | None,
    *,
    words: bool,
) -> None:
    """Raise InvalidFieldError if there are too many events to be told of, before they are scored.

    A word counts as one more.
    """
    told = min(alternatives or 0, len(model.vocabulary))
    bytes_each = BYTES_OF_TOKEN * (1 + told + words)
    enough = limits.max_reply_bytes // (bytes_each + 1)
    if alternatives is not None:
        enough = min(enough, limits.max_distributions)
    items, ends = batch.items, len(batch.items) * batch.eos
    tokens = len(items.ids) if isinstance(items, TokenSequences) else 0
    if isinstance(items, Texts):
        tokens = token_count(model, items, enough - ends)
    if alternatives is not None:
        check_distributions("detail", tokens + ends, limits)
    size = (tokens + ends) * bytes_each + int(items.offsets[-1]) * (1 + words)
    check_reply_size("detail", size, limits)


def _token_items(
    sequences: Sequence[wire.TokenSequence], limits: Limits, vocabulary: Vocabulary
) -> tuple[TokenSequences, ItemErrors]:
    arrays = [np.array(sequence.ids, np.int64) for sequence in sequences]
    errors: ItemErrors = {}
    for i, ids in enumerate(arrays):
        problem = _token_problem(i, ids, limits, vocabulary)
        if problem is not None:
            errors[i] = problem
    kept = [ids for i, ids in enumerate(arrays) if i not in errors]
    offsets = np.concatenate(([0], np.cumsum([len(ids) for ids in kept], dtype=np.int64)))
    flat = np.concatenate(kept) if kept else np.empty(0, np.int64)
    return TokenSequences(flat, offsets), errors


def _token_problem(
    i: int, ids: NDArray[np.int64], limits: Limits, vocabulary: Vocabulary
) -> ServiceError | None:
    if len(ids) > limits.max_text_bytes:
        size = f"{len(ids)} tokens are over the limit of {limits.max_text_bytes}"
        return TextTooLongError(f"token_sequences[{i}]", size)
    bos_id = vocabulary.bos_id if vocabulary.bos_id != vocabulary.eos_id else -1  # else an event
    bad = np.flatnonzero((ids >= len(vocabulary)) | (ids == bos_id))
    if not bad.size:
        return None
    position, token_id = int(bad[0]), int(ids[bad[0]])
    path = f"token_sequences[{i}].ids[{position}]"
    if token_id == bos_id:
        return InvalidFieldError(path, f"{token_id} is {BOS}, which is never an event")
    return InvalidFieldError(path, f"{token_id} is outside the vocabulary of {len(vocabulary)}")


def shared_context(context: str, limits: Limits) -> Texts | None:
    """A context that stands before every text; raises TextTooLongError."""
    if not context:
        return None
    texts = Texts.from_strings([context])
    if texts.offsets[-1] > limits.max_text_bytes:
        raise too_long_error("context", int(texts.offsets[-1]), limits)
    return texts
