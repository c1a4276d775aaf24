"""What can be asked of a server, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypedDict


def name_of(model: str) -> str:
    """The name in NAME, NAME:VERSION or NAME@LABEL."""
    return model.partition(":")[0].partition("@")[0]


class ModelChoice(TypedDict, total=False):
    """Which model answers."""

    model: str  # NAME as ListModels gives it, NAME:VERSION or NAME@LABEL; default: the client's
    version: int | None  # default: the highest one loaded
    label: str | None  # of a version, such as "stable"; in place of its number


class ScoreSettings(ModelChoice, total=False):
    """How texts are scored."""

    context: str  # stands before every text; conditions and is not scored
    tokens: bool  # whether to give the score of every token as well; default False
    bos: bool  # whether `<s>` stands before context and text; default True
    eos: bool  # whether `</s>` is scored at the end; default True
    alternatives: int  # likeliest tokens to give in the place of each token, with its rank and
    # the entropy there; implies tokens; takes time in proportion to the vocabulary; default 0
    words: bool  # whether to give the score of every word as well, whatever the tokens are


class PredictSettings(ModelChoice, total=False):
    """How prompts are continued."""

    top_k: int  # likeliest tokens to give; default 10
    bos: bool  # whether `<s>` stands before each prompt; default True


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One reading of an utterance or a sentence, with its scores from elsewhere."""

    text: str
    features: Mapping[str, float] = field(default_factory=dict)  # finite, higher is better
    columns: Sequence[str] = ()  # what else its file says of it; never sent, kept on writing


@dataclass(frozen=True, slots=True)
class NBestList:
    """The hypotheses for one utterance or sentence, all with the same features."""

    id: str
    hypotheses: Sequence[Hypothesis]
    reference: str | None = None  # what was really said; never sent
    context: str = ""  # stands before every hypothesis; conditions and is not scored


@dataclass(frozen=True, slots=True)
class RescoreWeights:
    """How a hypothesis' total is made up; every weight finite.

    ``lm_weight * log_prob + length_bonus * words - oov_penalty * oov_count`` plus the sum of
    ``feature_weight * value`` over its features.
    """

    lm_weight: float = 1.0
    length_bonus: float = 0.0
    oov_penalty: float = 0.0
    feature_weights: Mapping[str, float] = field(default_factory=dict)  # 1 where not named


@dataclass(frozen=True, slots=True)
class Greedy:
    """The likeliest token each time; of equally likely ones the one with the lowest id."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Draws from the model's distribution: sharpened by the temperature, then cut by the others."""

    temperature: float = 1.0  # below 1 likely tokens become likelier; above 0
    top_k: int = 0  # likeliest tokens to keep; 0 keeps all
    top_p: float = 1.0  # keeps the likeliest tokens that together have this mass; above 0
    min_p: float = 0.0  # keeps tokens at least so many times as likely as the likeliest


@dataclass(frozen=True, slots=True)
class Beam:
    """The best texts found while keeping ``width`` candidates a step."""

    width: int
    length_penalty: float = 0.0  # texts are ranked by log_prob / token_count ** length_penalty
    num_results: int = 1  # texts to give, best first; at most width


Strategy: TypeAlias = Greedy | Sampling | Beam


class GenerateSettings(ModelChoice, total=False):
    """How a prompt is continued, and when that ends. What is not given is the server's default."""

    strategy: Strategy  # default Greedy(); Sampling() with a seed or for several texts
    num_sequences: int  # texts, each with random numbers of its own; default 1; not for beams
    max_tokens: int  # a text ends after so many; default 128
    min_tokens: int  # nothing else ends a text before so many; default 0
    stop: Sequence[str]  # strings that end a text and are no part of it
    stop_token_ids: Sequence[int]  # tokens that do the same
    banned_token_ids: Sequence[int]  # tokens that are never chosen
    allow_unknown: bool  # whether the unknown token may be chosen; default False
    seed: int | None  # the same one gives the same text; default: one is drawn, and told
    repetition_penalty: float  # above 1: tokens of prompt and text become less likely; default 1
    alternatives: int  # likeliest tokens to tell in the place of each; default 0; not for beams
    bos: bool  # whether `<s>` stands before the prompt; default True
