"""The error against each model's weight as a picture, with matplotlib (the extra ``plot``)."""

from __future__ import annotations

import io
import math

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmscore.client.tuning.api import Tuning
from lmscore.client.tuning.curves import Curve


def picture(tuning: Tuning) -> bytes:
    """A PNG with a panel for each model whose weight was tuned, the other weights held."""
    panels = max(len(tuning.curves), 1)
    figure = Figure(figsize=(1 + 5 * panels, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    row = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    for axes, (model, curve) in zip(row, tuning.curves.items(), strict=False):
        _draw(axes, model, curve, tuning)
    row[0].set_ylabel(f"{tuning.metric.upper()} of {tuning.lists} lists")
    row[0].legend(fontsize="small")
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _draw(axes: Axes, model: str, curve: Curve, tuning: Tuning) -> None:
    axes.plot(curve.weights, curve.scores, drawstyle="steps-mid", linewidth=1)
    score = tuning.cross_validated
    axes.axhspan(score.low, score.high, alpha=0.1, color="C2", linewidth=0)
    lines = {
        "as given": (tuning.best_given.value, "C7"),
        "cross-validated, 95 %": (score.value, "C2"),
        "oracle": (tuning.oracle.value, "C3"),
    }
    for label, (value, color) in lines.items():
        axes.axhline(value, label=label, color=color, linestyle="--", linewidth=1)
    axes.plot([curve.chosen], [tuning.tuned.value], "o", color="C1", label="chosen")
    # Linear up to about the smallest weight shown, so that a chosen 0 has a place.
    linear = 10 ** math.floor(math.log10(curve.weights[0]))
    axes.set_xscale("symlog", linthresh=linear, linscale=0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"weight of {model}")
    axes.grid(visible=True, alpha=0.3)
