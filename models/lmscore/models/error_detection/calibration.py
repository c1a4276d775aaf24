"""How unexpected the words of ordinary text are to a model, kept in a file beside it."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.error_detection.detection import Criterion, scored_words, unexpectedness
from lmscore.models.errors import CorpusError, ModelFormatError, ModelFormatWarning, ParameterError
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts

FORMAT = "lmscore-calibration-1"
DEFAULT_QUANTILE = 0.99
"""Of a hundred words of ordinary text, the most unexpected one is at the threshold."""

_SUFFIX = ".calibration.json"
_FOLDER_FILE = "calibration.json"
_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
_CRITERIA: tuple[Criterion, ...] = ("surprisal", "misfit")

Quantiles = Mapping[float, float]
"""From a share of the words to what that share does not exceed, in nats."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Surprisals and misfits of the known words of a text that a model is meant for."""

    words: int  # known words that were measured
    oov_words: int  # others, which are no part of the quantiles
    quantiles: Mapping[Criterion, Quantiles]
    quantile: float  # the one that is the threshold

    def threshold(self, criterion: Criterion) -> float:
        """What a word that is not an error seldom exceeds, in nats."""
        return self.quantiles[criterion][self.quantile]

    @property
    def known_by_heart(self) -> bool:
        """Whether even seldom words fit better than anywhere, as in the text of the training."""
        return self.quantiles["misfit"][DEFAULT_QUANTILE] < 0


def calibrate(
    model: LanguageModel[Any],
    texts: Iterable[Texts],
    quantile: float = DEFAULT_QUANTILE,
    source: Path = Path("-"),
) -> Calibration:
    """Measure the words of texts, each of them a text by itself.

    Raises ParameterError for a quantile that is none, CorpusError, which names the source, for
    texts without known words.
    Keeps 8 bytes a word.
    """
    if not 0 < quantile < 1:
        raise ParameterError("quantile", f"{quantile:g} is not between 0 and 1")
    measured: dict[Criterion, list[NDArray[np.float32]]] = {name: [] for name in _CRITERIA}
    oov_words = 0
    for items in texts:
        batch = ScoreBatch(items, per_token=True)
        words = scored_words(batch, model.score(batch))
        known = ~words.oov & (words.token_counts > 0)
        known[words.offsets[1:] - 1] = False  # ends
        oov_words += int(words.oov.sum())
        for name in _CRITERIA:
            figures = unexpectedness(model, batch, words, name)
            measured[name].append(figures[known].astype(np.float32))
    count = sum(map(len, measured["surprisal"]))
    if not count:
        raise CorpusError(source, "there is no word in it that the model knows")
    shares = sorted({*_QUANTILES, quantile})
    # Of what was measured, never between two: an impossible word may be among them.
    quantiles = {
        name: dict(zip(shares, _quantiles(parts, shares), strict=True))
        for name, parts in measured.items()
    }
    return Calibration(count, oov_words, quantiles, quantile)


def _quantiles(parts: list[NDArray[np.float32]], shares: list[float]) -> list[float]:
    found: list[float] = np.quantile(np.concatenate(parts), shares, method="inverted_cdf").tolist()
    return found


def calibration_path(path: Path) -> Path:
    """Where the calibration of the model in a file or folder is."""
    return path / _FOLDER_FILE if path.is_dir() else path.with_name(path.name + _SUFFIX)


def write_calibration(path: Path, fingerprint: str, calibration: Calibration) -> Path:
    """Put a calibration beside the model in a file or folder; gives where."""
    record = {
        "format": FORMAT,
        "model_fingerprint": fingerprint,
        "words": calibration.words,
        "oov_words": calibration.oov_words,
        "threshold_quantile": calibration.quantile,
    } | {
        f"{name}_quantiles_nats": {
            repr(share): nats if math.isfinite(nats) else str(nats)
            for share, nats in quantiles.items()
        }
        for name, quantiles in calibration.quantiles.items()
    }
    target = calibration_path(path)
    target.write_text(json.dumps(record, indent=2) + "\n")
    return target


def read_calibration(path: Path, fingerprint: str) -> Calibration | None:
    """The calibration beside the model in a file or folder, if there is one and it is the model's.

    Raises ModelFormatError for a file that is none; warns with ModelFormatWarning of one that was
    made for another fingerprint, which is not used.
    """
    source = calibration_path(path)
    try:
        record = json.loads(source.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ModelFormatError(source, f"not JSON: {error}") from None
    try:
        made_for, calibration = _parsed(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"not a calibration ({error!r}); lmscore-eval --calibrate makes one"
        raise ModelFormatError(source, problem) from None
    if made_for != fingerprint:
        problem = "made for another model, so not used; lmscore-eval --calibrate makes one"
        warnings.warn(f"{source}: {problem}", ModelFormatWarning, stacklevel=2)
        return None
    return calibration


def _parsed(record: Any) -> tuple[str, Calibration]:
    if record["format"] != FORMAT:
        raise ValueError(f"format {record['format']}")
    quantiles: dict[Criterion, Quantiles] = {
        name: {float(s): float(nats) for s, nats in record[f"{name}_quantiles_nats"].items()}
        for name in _CRITERIA
    }
    calibration = Calibration(
        int(record["words"]),
        int(record["oov_words"]),
        quantiles,
        float(record["threshold_quantile"]),
    )
    if any(math.isnan(calibration.threshold(name)) for name in _CRITERIA):
        raise ValueError("a threshold that is no number")
    return str(record["model_fingerprint"]), calibration
