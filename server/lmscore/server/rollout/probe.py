"""Whether a version's scores are what they should be, before anybody gets them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmscore.models.errors import ModelFormatError
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts
from lmscore.models.loading import GOLDEN_SENTENCE
from lmscore.server.rollout.layout import PROBE_FILE

DEFAULT_TOLERANCE = 1e-3  # nats; networks differ in their last bits from machine to machine


@dataclass(frozen=True, slots=True)
class Probe:
    """A text and its log-probability, as whoever made the model found it."""

    text: str
    log_prob: float  # nats, with ``<s>`` before and ``</s>`` after the text
    tolerance: float


def read_probe(folder: Path) -> Probe | None:
    """The expectation in a version's folder, if it has one. Raises ModelFormatError."""
    path = folder / PROBE_FILE
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelFormatError(path, f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(path, f"not JSON: {error}") from None
    if not isinstance(values, dict) or values.keys() - {"text", "log_prob", "tolerance"}:
        raise ModelFormatError(path, "not an object of text, log_prob and tolerance")
    if not isinstance(values.get("text"), str):
        raise ModelFormatError(path, "text is not a string")
    tolerance = _number(path, values, "tolerance", DEFAULT_TOLERANCE)
    if tolerance < 0:
        raise ModelFormatError(path, "tolerance is below 0")
    return Probe(values["text"], _number(path, values, "log_prob"), tolerance)


def _number(path: Path, values: dict[str, Any], name: str, default: float | None = None) -> float:
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ModelFormatError(path, f"{name} is not a finite number")
    return float(value)


def try_model(model: LanguageModel[Any], folder: Path) -> None:
    """Raise ModelFormatError for a model that scores as none should, or not as it is to."""
    probe = read_probe(folder)
    golden = _log_prob(model, GOLDEN_SENTENCE)
    # A model may give words that it lacks no probability at all; its folder then says what it does.
    if math.isnan(golden) or (probe is None and not math.isfinite(golden)):
        raise ModelFormatError(folder, f'it gives "{GOLDEN_SENTENCE}" the score {golden}')
    if probe is None:
        return
    found = _log_prob(model, probe.text)
    if not abs(found - probe.log_prob) <= probe.tolerance:
        problem = (
            f'"{probe.text[:80]}" has {found:.6f} nats, not {probe.log_prob:.6f} '
            f"to within {probe.tolerance:g}"
        )
        raise ModelFormatError(folder / PROBE_FILE, problem)


def _log_prob(model: LanguageModel[Any], text: str) -> float:
    return float(model.score(ScoreBatch(Texts.from_strings([text]))).log_probs[0])
