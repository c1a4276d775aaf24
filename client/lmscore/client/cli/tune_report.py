"""What ``lmscore tune`` writes: figures and weights, as tables or as a record."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lmscore.client.cli.output import columns

if TYPE_CHECKING:
    from lmscore.client.tuning import Score, Tuning

_FIGURES = {
    "best_given": "as given",
    "tuned": "tuned, on the same lists",
    "cross_validated": "tuned, cross-validated",
    "gain": "  difference to as given",
    "oracle": "oracle",
}


def as_record(tuning: Tuning) -> dict[str, Any]:
    """Everything but the curves."""
    return {
        "metric": tuning.metric,
        "lists": tuning.lists,
        "folds": tuning.folds,
        **{name: asdict(getattr(tuning, name)) for name in _FIGURES},
        "weights": asdict(tuning.weights),
        "warnings": tuning.warnings,
    }


def as_text(tuning: Tuning) -> str:
    """Two tables: the metric, and the weights."""
    figures = [
        (title, *_cells(getattr(tuning, name), signed=name == "gain"))
        for name, title in _FIGURES.items()
    ]
    headings = (
        f"{tuning.lists} lists, {tuning.folds} folds",
        tuning.metric.upper(),
        "95 % interval",
    )
    weights = columns(("", "weight"), _weights(tuning), {0})
    return f"{columns(headings, figures, {0})}\n{weights}"


def _cells(score: Score, *, signed: bool) -> tuple[str, str]:
    form = "+.2f" if signed else ".2f"
    return f"{score.value:{form}}", f"{score.low:{form}} to {score.high:{form}}"


def _weights(tuning: Tuning) -> list[tuple[str, str]]:
    weights = tuning.weights
    rows = {
        **{f"feature {name}": number for name, number in weights.features.items()},
        **{f"model {name}": number for name, number in weights.models.items()},
        "length bonus": weights.length_bonus,
    }
    if weights.oov_penalties:
        rows |= {f"OOV penalty {name}": each for name, each in weights.oov_penalties.items()}
    else:
        rows["OOV penalty"] = weights.oov_penalty
    return [(name, f"{number:.4g}") for name, number in rows.items()]
