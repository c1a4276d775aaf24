"""The weights of ``lmscore rescore``: a file, and flags that have precedence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import click

from lmscore.client.combination import CombinationWeights
from lmscore.client.results import ModelIdentity
from lmscore.client.weights_file import read_weights

Named = Sequence[tuple[str, float]]


def combination(
    path: str | None,
    models: Sequence[str],
    lm_weights: Named,
    feature_weights: Named,
    length_bonus: float | None,
    oov_penalty: float | None,
) -> CombinationWeights:
    """What file and flags come to; a weight without a name is that of the only model."""
    _refuse_repeated("--lm-weight", [name for name, _ in lm_weights])
    _refuse_repeated("--feature-weight", [name for name, _ in feature_weights])
    _refuse_repeated("--model", models)
    filed = read_weights(path) if path is not None else CombinationWeights()
    named = dict(lm_weights)
    everyone = named.pop("", None)
    known = list(models) or list(filed.models)
    if everyone is not None and (named or len(known) > 1):
        raise click.UsageError("of several models, --lm-weight has to say whose: MODEL=NUMBER")
    for name in named:
        if known and name not in known:
            raise click.UsageError(f"--lm-weight {name}: choose that model too, with --model")
    if everyone is not None:
        named = dict.fromkeys(known, everyone) or {"": everyone}
    return CombinationWeights(
        {**filed.models, **named},
        {**filed.features, **dict(feature_weights)},
        filed.length_bonus if length_bonus is None else length_bonus,
        filed.oov_penalty if oov_penalty is None else oov_penalty,
        filed.oov_penalties if oov_penalty is None else {},
    )


def of_models(weights: CombinationWeights, models: Sequence[ModelIdentity]) -> CombinationWeights:
    """The weights of the models that were found; a nameless one is the only model's."""
    everyone = weights.models.get("", 1.0)
    factors = {each.name: weights.models.get(each.name, everyone) for each in models}
    return replace(weights, models=factors)


def _refuse_repeated(flag: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            given = f"{flag} {name}" if name else flag
            raise click.UsageError(f"{given} is given more than once")
