"""What ``lmscore-eval --calibrate`` does: learns beyond what a word is unexpected to a model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from lmscore.models.commands.running import complain, progress_bar
from lmscore.models.error_detection.calibration import (
    DEFAULT_QUANTILE,
    Calibration,
    calibrate,
    write_calibration,
)
from lmscore.models.error_detection.detection import Criterion
from lmscore.models.estimation.corpus import read_blocks
from lmscore.models.language_model import Texts
from lmscore.models.loading import fingerprint, load_model
from lmscore.models.measures import lines_of

_BY_HEART = (
    "warning: the model expects nearly every word, as if it was trained on this text; "
    "such thresholds suspect almost every word of another one: calibrate on text that it was not "
    "trained on"
)
_CRITERIA: tuple[Criterion, ...] = ("surprisal", "misfit")


def calibrate_model(
    model_file: Path, texts: Sequence[Path], quantile: float | None, *, as_json: bool
) -> None:
    """Measure a model on texts, one sentence a line; write what was found beside it and say so."""
    with progress_bar() as bar:
        bar.begin("loading")
        model = load_model(model_file, bar.advance)
        bar.begin("calibrating")

        def batches() -> Iterator[Texts]:
            for path in texts:
                for block in read_blocks(path, lambda _, done, size: bar.advance(done, size)):
                    yield lines_of(block.data)

        calibration = calibrate(model, batches(), quantile or DEFAULT_QUANTILE, texts[0])
        path = write_calibration(model_file, fingerprint(model_file), calibration)
    if calibration.known_by_heart:
        complain("lmscore-eval", _BY_HEART)
    click.echo(_as_json(calibration, path) if as_json else _as_text(calibration, path))


def _as_json(calibration: Calibration, path: Path) -> str:
    record: dict[str, object] = {
        "path": str(path),
        "words": calibration.words,
        "oov_words": calibration.oov_words,
        "quantile": calibration.quantile,
    }
    for criterion in _CRITERIA:
        threshold = calibration.threshold(criterion)
        record[criterion] = threshold if math.isfinite(threshold) else "Infinity"
    return json.dumps(record)


def _as_text(calibration: Calibration, path: Path) -> str:
    share = f"{100 * calibration.quantile:g} %"
    rows = {
        "words": f"{calibration.words}, and {calibration.oov_words} unknown ones",
        "surprisal": f"at most {calibration.threshold('surprisal'):.4f} nats for {share} of them",
        "misfit": f"at most {calibration.threshold('misfit'):.4f} nats for {share} of them",
        "written to": str(path),
    }
    return "\n".join(f"{name:<12}{value}" for name, value in rows.items())
