"""Scoring texts that are too long for a model, in pieces that overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lmscore.models.language_model import (
    BatchScores,
    LanguageModel,
    ScoreBatch,
    Texts,
    TokenArrays,
    TokenSequences,
)


@dataclass(frozen=True, slots=True)
class Windows:
    """How a text is cut: pieces of size tokens, stride tokens apart.

    Each piece after the first scores its last stride tokens; those before them are context. A
    model that looks back no further than size - stride tokens scores as if it saw the whole text.
    """

    size: int  # tokens, at least 1
    stride: int  # tokens, from 1 to size

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.size:
            raise ValueError(f"a stride of {self.stride} is not within 1 and {self.size}")


def score_in_windows(model: LanguageModel[Any], texts: Texts, windows: Windows) -> BatchScores:
    """Scores of texts, each cut into windows."""
    tokens = model.tokenize(texts)
    spans = [slice(*tokens.offsets[i : i + 2]) for i in range(len(texts))]
    log_probs = [event_log_probs(model, tokens.token_ids[span], windows) for span in spans]
    known = [np.append(~tokens.oov[span], True) for span in spans]  # the end of a text is known
    return BatchScores(
        np.array([line.sum() for line in log_probs]),
        np.array([line[kept].sum() for line, kept in zip(log_probs, known, strict=True)]),
        np.array([len(line) for line in log_probs]),
        np.array([np.count_nonzero(~kept) for kept in known]),
    )


def event_log_probs(
    model: LanguageModel[Any], token_ids: NDArray[np.int64], windows: Windows
) -> NDArray[np.float64]:
    """Log-probability of each token of a text, and of its end, in nats: (tokens + 1,)."""
    events = np.append(token_ids, model.vocabulary.eos_id)
    ends = np.arange(min(windows.size, len(events)), len(events) + windows.stride, windows.stride)
    ends = np.unique(np.minimum(ends, len(events)))  # the last piece may score less than a stride
    log_probs = np.empty(len(events))
    scored = 0
    for end in ends.tolist():
        begin = max(end - windows.size, 0)
        piece = TokenSequences(events[begin:end], np.array([0, end - begin]))
        batch = ScoreBatch(piece, bos=begin == 0, eos=False, per_token=True)
        tokens = cast("TokenArrays", model.score(batch).tokens)  # there, as per_token is set
        log_probs[scored:end] = tokens.log_probs[scored - begin :]
        scored = end
    return log_probs
