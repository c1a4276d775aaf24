"""How text is to be chosen and when it ends; every object is valid once it exists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lmscore.models.errors import ParameterError

SEEDS = 1 << 64
"""Seeds are 0 … SEEDS - 1."""

MAX_LENGTH_PENALTY = 16.0
"""No length of up to 2^63 tokens has a power beyond what a float can hold."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """The likeliest token each time, of equal ones that with the lowest id."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Draws from the model's distribution, sharpened by temperature, then cut by the filters.

    top_k keeps the k likeliest tokens (None or 0: all; more than there are: all), then top_p the
    smallest set of the likeliest whose mass reaches p, then min_p the tokens that are at least
    min_p times as likely as the likeliest. Of equally likely tokens the lower id is kept.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        _require_finite("temperature", self.temperature)
        _require("temperature", self.temperature > 0, "must be above 0; use greedy for 0")
        _require("top_k", (self.top_k or 0) >= 0, "must not be negative; 0 keeps all tokens")
        _require("top_p", 0 < self.top_p <= 1, "must be above 0 and at most 1")
        _require("min_p", 0 <= self.min_p <= 1, "must be from 0 to 1")


@dataclass(frozen=True, slots=True)
class Beam:
    """The best texts found while keeping so many candidates a step.

    A text's score is log_prob / length ** length_penalty, length counting its tokens with the one
    that ends it: 0 ranks by log-probability, 1 by log-probability a token.
    """

    width: int
    length_penalty: float = 0.0
    num_results: int = 1

    def __post_init__(self) -> None:
        _require("width", self.width >= 1, "must be at least 1")
        _require_finite("length_penalty", self.length_penalty)
        within = 0 <= self.length_penalty <= MAX_LENGTH_PENALTY
        _require("length_penalty", within, f"must be from 0 to {MAX_LENGTH_PENALTY:g}")
        _require("num_results", self.num_results >= 1, "must be at least 1")
        _require("num_results", self.num_results <= self.width, "must be at most the width")


Strategy: TypeAlias = Greedy | Sampling | Beam


@dataclass(frozen=True, slots=True)
class Decoding:
    """All settings of one request for text.

    Tokens are counted as generated, ``</s>`` included. Nothing ends a text before it has
    min_tokens of them, and one that has max_tokens ends. repetition_penalty multiplies the
    log-probabilities of the tokens of the prompt and of the text so far (above 1: less likely).
    Stop strings and stop tokens end a text and are no part of it. Sequences of one request differ
    in their random numbers; without a seed, one is drawn. ``<unk>`` is banned unless allowed.
    """

    strategy: Strategy = Greedy()
    max_tokens: int = 128
    min_tokens: int = 0
    repetition_penalty: float = 1.0
    banned_token_ids: tuple[int, ...] = ()
    allow_unknown: bool = False
    stop_strings: tuple[bytes, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int | None = None
    num_sequences: int = 1
    alternatives: int = 0

    def __post_init__(self) -> None:
        _require("max_tokens", self.max_tokens >= 1, "must be at least 1")
        _require("min_tokens", self.min_tokens >= 0, "must not be negative")
        _require("min_tokens", self.min_tokens <= self.max_tokens, "must be at most max_tokens")
        _require_finite("repetition_penalty", self.repetition_penalty)
        _require("repetition_penalty", self.repetition_penalty > 0, "must be above 0")
        for i, string in enumerate(self.stop_strings):
            _require(f"stop_strings[{i}]", bool(string), "must not be empty")
        _require("seed", 0 <= (self.seed or 0) < SEEDS, "must be from 0 to 2^64 - 1")
        _require("num_sequences", self.num_sequences >= 1, "must be at least 1")
        _require("alternatives", self.alternatives >= 0, "must not be negative")
        if isinstance(self.strategy, Beam):
            _require("num_sequences", self.num_sequences == 1, "num_results says it for beams")
            _require("alternatives", self.alternatives == 0, "not given with beam search")

    def check_token_ids(self, vocabulary_size: int) -> None:
        """Raise ParameterError for an id that the vocabulary does not have."""
        for name in ("banned_token_ids", "stop_token_ids"):
            ids: Sequence[int] = getattr(self, name)
            for i, token_id in enumerate(ids):
                known = 0 <= token_id < vocabulary_size
                _require(
                    f"{name}[{i}]", known, f"{token_id} is not from 0 to {vocabulary_size - 1}"
                )


def _require(field: str, holds: bool, problem: str) -> None:
    if not holds:
        raise ParameterError(field, problem)


def _require_finite(field: str, value: float) -> None:
    _require(field, math.isfinite(value), "must be a finite number")
