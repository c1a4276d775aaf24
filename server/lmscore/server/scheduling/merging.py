"""Batches of several requests as one batch, and its results as theirs again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lmscore.models.distribution import Distributions
from lmscore.models.language_model import (
    BatchScores,
    LanguageModel,
    ScoreBatch,
    Texts,
    TokenArrays,
)

BYTES_OF_ITEM = 64
"""What an item costs besides its text: many empty ones fill the queue too."""


@dataclass(frozen=True, slots=True)
class MergeKey:
    """What batches have to have in common to be scored as one."""

    model: int  # its id(), which no other has as long as work for it waits
    bos: bool
    eos: bool
    per_token: bool


@dataclass(frozen=True, slots=True)
class PredictKey:
    """What prompts have to have in common to be read as one batch."""

    model: int  # as above
    bos: bool


def merge_key(model: LanguageModel[Any], batch: ScoreBatch) -> MergeKey | None:
    """The key of a batch of texts; token sequences are scored alone."""
    if not isinstance(batch.items, Texts):
        return None
    return MergeKey(id(model), batch.bos, batch.eos, batch.per_token)


def size_of(batch: ScoreBatch) -> int:
    """What a batch counts for in a queue, in bytes."""
    return text_bytes(batch) + BYTES_OF_ITEM * len(batch.items)


def text_bytes(batch: ScoreBatch) -> int:
    """Bytes of the texts and contexts; of token sequences, their tokens."""
    size = int(batch.items.offsets[-1])
    return size + (int(batch.contexts.offsets[-1]) if batch.contexts is not None else 0)


def joined(batches: Sequence[ScoreBatch]) -> ScoreBatch:
    """Batches of texts of one key as one."""
    items = chained([batch.items for batch in batches if isinstance(batch.items, Texts)])
    if all(batch.contexts is None for batch in batches):
        return replace(batches[0], items=items)
    contexts = chained([_context_of_each(batch) for batch in batches])
    return replace(batches[0], items=items, contexts=contexts)


def _context_of_each(batch: ScoreBatch) -> Texts:
    """The contexts of a batch, one for each item; nothing to read is the empty text."""
    count, contexts = len(batch.items), batch.contexts
    if contexts is None:
        return Texts(np.empty(0, np.uint8), np.zeros(count + 1, np.int64))
    if len(contexts) == count:
        return contexts
    return Texts(np.tile(contexts.data, count), np.arange(count + 1) * len(contexts.data))


def chained(texts: Sequence[Texts]) -> Texts:
    """Batches of texts as one."""
    lengths = np.concatenate([np.diff(each.offsets) for each in texts])
    data = np.concatenate([each.data for each in texts])
    return Texts(data, np.concatenate(([0], np.cumsum(lengths))))


def split(scores: BatchScores, counts: Sequence[int]) -> list[BatchScores]:
    """Scores of a batch as those of its parts, which have so many items each.

    How many tokens its items share is told with the first part, for all of them.
    """
    ends = np.cumsum(counts).tolist()
    parts = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    return [
        _part(scores, part, scores.shared_tokens if i == 0 else 0) for i, part in enumerate(parts)
    ]


def split_distributions(
    distributions: Distributions, sizes: Sequence[tuple[int, int]]
) -> list[Distributions]:
    """Distributions of a batch as those of its parts: so many rows each, and so many tokens."""
    parts, end = [], 0
    for rows, k in sizes:
        part, end = slice(end, end + rows), end + rows
        parts.append(
            Distributions(
                distributions.entropies[part],
                distributions.top_ids[part, :k],
                distributions.top_log_probs[part, :k],
            )
        )
    return parts


def _part(scores: BatchScores, items: slice, shared_tokens: int) -> BatchScores:
    return BatchScores(
        scores.log_probs[items],
        scores.log_probs_excluding_oov[items],
        scores.token_counts[items],
        scores.oov_counts[items],
        _tokens_part(scores.tokens, items) if scores.tokens is not None else None,
        shared_tokens,
    )


def _tokens_part(tokens: TokenArrays, items: slice) -> TokenArrays:
    begin, end = tokens.offsets[items.start], tokens.offsets[items.stop]

    def part(array: Any) -> Any:
        return None if array is None else array[begin:end]

    return TokenArrays(
        offsets=tokens.offsets[items.start : items.stop + 1] - begin,
        token_ids=part(tokens.token_ids),
        log_probs=part(tokens.log_probs),
        oov=part(tokens.oov),
        begin_bytes=part(tokens.begin_bytes),
        end_bytes=part(tokens.end_bytes),
        matched_orders=part(tokens.matched_orders),
    )
