"""What was measured during a run: rows of a CSV file, and curves in a picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One row of the log."""

    step: int
    epoch: float  # that have passed
    tokens: int  # events trained on
    train_loss: float  # nats an event since the last row, with dropout
    valid_loss: float  # nats an event
    valid_perplexity: float
    learning_rate: float
    gradient_norm: float  # before clipping, mean since the last row
    seconds: float  # of training, earlier parts of a resumed run included

    @property
    def train_perplexity(self) -> float:
        """That of the training text since the last row."""
        return perplexity(self.train_loss)


def perplexity(loss: float) -> float:
    """The perplexity of a mean loss in nats."""
    return math.exp(loss) if loss < 700 else math.inf


def as_csv(rows: Sequence[Evaluation]) -> bytes:
    """The rows under the names of their columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Evaluation))
    writer.writerows(
        [f"{value:.6g}" if isinstance(value, float) else value for value in astuple(row)]
        for row in rows
    )
    return text.getvalue().encode()


def as_picture(rows: Sequence[Evaluation]) -> bytes | None:
    """A PNG of both perplexities over the epochs; None where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    epochs = [row.epoch for row in rows]
    axes.plot(epochs, [row.train_perplexity for row in rows], marker=".", label="training")
    axes.plot(epochs, [row.valid_perplexity for row in rows], marker=".", label="held out")
    axes.set(xlabel="epoch", ylabel="perplexity", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
