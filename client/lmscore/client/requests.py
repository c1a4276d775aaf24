"""What can be asked of a server, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict


class ModelChoice(TypedDict, total=False):
    """Which model answers."""

    model: str  # a name as ListModels gives it; default: the client's
    version: int | None  # default: the highest one loaded


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
