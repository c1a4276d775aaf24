"""Models trained on a few lines, and their distributions by the definition of backing off."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.estimation.discounts import DiscountWarning
from lmscore.models.estimation.training import (
    CorpusWarning,
    TrainingReport,
    TrainingSettings,
    train,
)
from lmscore.models.ngram.table import NgramTable
from tests.models.backoff import Backoff

FIXTURES = Path(__file__).parent / "fixtures"
SENTENCES = FIXTURES / "sentences.txt"


def train_file(path: Path, **settings: Any) -> tuple[NgramTable, TrainingReport]:
    """Train without the warnings that small corpora deserve."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DiscountWarning)
        warnings.simplefilter("ignore", CorpusWarning)
        return train([path], TrainingSettings(**settings))


def train_lines(folder: Path, lines: list[str], **settings: Any) -> NgramTable:
    path = folder / "corpus.txt"
    path.write_text("".join(line + "\n" for line in lines))
    return train_file(path, **settings)[0]


def as_backoff(table: NgramTable) -> Backoff:
    """The same model by n-gram."""
    model = Backoff()
    words = [word.decode() for word in table.words]
    for level in table.orders:
        for ids, prob, backoff in zip(
            level.ids.tolist(),
            level.log10_probs.tolist(),
            level.log10_backoffs.tolist(),
            strict=True,
        ):
            ngram = tuple(words[i] for i in ids)
            model.probs[ngram] = prob
            model.backoffs[ngram] = backoff
    return model


def distribution(model: Backoff, context: tuple[str, ...]) -> NDArray[np.float64]:
    """Probabilities of all events after a context: (words without ``<s>``,)."""
    log10_probs = [model.prob(context, word) for word in model.words if word != "<s>"]
    return np.power(10.0, np.array(log10_probs, np.float64))


def assert_same_entries(found: NgramTable, expected: NgramTable, tolerance: float) -> None:
    """The same n-grams, whatever the ids, with probabilities and back-offs within a tolerance."""
    ours, theirs = as_backoff(found), as_backoff(expected)
    assert ours.probs.keys() == theirs.probs.keys()
    for ngram in theirs.probs:
        assert abs(ours.probs[ngram] - theirs.probs[ngram]) <= tolerance, ngram
        assert abs(ours.backoffs[ngram] - theirs.backoffs[ngram]) <= tolerance, ngram
