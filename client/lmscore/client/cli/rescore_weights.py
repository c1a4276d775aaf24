"""The weights of ``lmscore rescore``: a file, and flags that have precedence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import click

from lmscore.client.cli.output import complain
from lmscore.client.combination import CombinationWeights
from lmscore.client.requests import name_of
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
        if known and name not in {*known, *map(name_of, known)}:
            raise click.UsageError(f"--lm-weight {name}: choose that model too, with --model")
    if everyone is not None:
        named = dict.fromkeys(known, everyone) or {"": everyone}
    for name in models:
        if filed.models and not {name, name_of(name)} & filed.models.keys() | named.keys():
            complain(f"{path} has no weight for model {name}: it counts with 1")
    return CombinationWeights(
        {**filed.models, **named},
        {**filed.features, **dict(feature_weights)},
        filed.length_bonus if length_bonus is None else length_bonus,
        filed.oov_penalty if oov_penalty is None else oov_penalty,
        filed.oov_penalties if oov_penalty is None else {},
    )


def of_models(
    weights: CombinationWeights, given: Sequence[str], models: Sequence[ModelIdentity]
) -> CombinationWeights:
    """The weights of the models that were found, by their names without versions and labels.

    A nameless weight is the only model's. ``given`` are the names that the models were chosen by,
    empty for the only one that the server has.
    """
    everyone = weights.models.get("", 1.0)
    names = list(given) or [each.name for each in models]
    factors, penalties = {}, {}
    for name, model in zip(names, models, strict=True):
        factors[model.name] = _first_of(weights.models, (name, model.name), everyone)
        penalties[model.name] = _first_of(weights.oov_penalties, (name, model.name), 0.0)
    return replace(weights, models=factors, oov_penalties={k: v for k, v in penalties.items() if v})


def _first_of(found: Mapping[str, float], names: Sequence[str], default: float) -> float:
    return next((found[name] for name in names if name in found), default)


def _refuse_repeated(flag: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            given = f"{flag} {name}" if name else flag
            raise click.UsageError(f"{given} is given more than once")
