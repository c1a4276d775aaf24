"""What is tuned for: error metrics of a corpus, as functions of sums over its segments.

A metric gives every hypothesis some statistics; the corpus' score is a function of their sums, so
that choosing other hypotheses means adding other rows. Sums stand in the last axis.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from lmscore.client.tuning.candidates import Floats

BLEU_ORDER = 4
CHRF_ORDER = 6
CHRF_BETA = 2.0
_BLANKS = re.compile(r"\s\s+")


@dataclass(frozen=True)
class ErrorMetric:
    """One way to measure a corpus."""

    name: str
    statistics: Callable[[str, Sequence[str]], Floats]  # of each hypothesis against the reference
    error: Callable[[Floats], Floats]  # of sums (…, statistics); lower is better
    score: Callable[[Floats], Floats]  # errors as the numbers that people know
    higher_is_better: bool = False


def _edits(reference: Sequence[str], hypotheses: Sequence[Sequence[str]]) -> Floats:
    return np.array(
        [[Levenshtein.distance(reference, each), len(reference)] for each in hypotheses], float
    ).reshape(-1, 2)


def _word_edits(reference: str, hypotheses: Sequence[str]) -> Floats:
    return _edits(_words(reference), [_words(each) for each in hypotheses])


def _words(text: str) -> list[str]:
    """The words that jiwer sees: a single blank that is not a space does not part them."""
    return [word for word in _BLANKS.sub(" ", text).strip().split(" ") if word]


def _character_edits(reference: str, hypotheses: Sequence[str]) -> Floats:
    return _edits(reference.strip(), [each.strip() for each in hypotheses])


def _error_rate(sums: Floats) -> Floats:
    rates: Floats = sums[..., 0] / np.maximum(sums[..., 1], 1)  # of no words, the errors alone
    return rates


def _ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))


def _matches(
    reference: Sequence[str], hypothesis: Sequence[str], order: int
) -> list[tuple[int, int, int]]:
    """For n-grams of each length: how many the hypothesis has, the reference, and both."""
    found = []
    for length in range(1, order + 1):
        ours, theirs = _ngrams(hypothesis, length), _ngrams(reference, length)
        found.append((ours.total(), theirs.total(), (ours & theirs).total()))
    return found


_bleu_tokens = Tokenizer13a()  # type: ignore[no-untyped-call]


def _bleu_statistics(reference: str, hypotheses: Sequence[str]) -> Floats:
    expected = _bleu_tokens(reference.strip()).split()
    rows = []
    for hypothesis in hypotheses:
        tokens = _bleu_tokens(hypothesis.strip()).split()
        counts = _matches(expected, tokens, BLEU_ORDER)
        both, ours = [match for _, _, match in counts], [total for total, _, _ in counts]
        rows.append([len(tokens), len(expected), *both, *ours])
    return np.array(rows, float).reshape(-1, 2 + 2 * BLEU_ORDER)


def _bleu_error(sums: Floats) -> Floats:
    ours, theirs = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2 : 2 + BLEU_ORDER], sums[..., 2 + BLEU_ORDER :]
    # The first length without a match counts as half a match, the next as a quarter, and so on.
    smoothing = 0.5 ** np.cumsum(matches == 0, axis=-1)
    logs = np.log(np.where(matches > 0, matches, smoothing)) - np.log(np.maximum(totals, 1))
    brevity = np.minimum(0.0, 1.0 - theirs / np.maximum(ours, 1))
    scores = 100.0 * np.exp(brevity + logs.mean(axis=-1))
    counts = (totals > 0).all(axis=-1) & (matches > 0).any(axis=-1)
    return np.where(counts, 100.0 - scores, 100.0)


def _chrf_statistics(reference: str, hypotheses: Sequence[str]) -> Floats:
    expected = "".join(reference.split())
    rows = [_matches(expected, "".join(each.split()), CHRF_ORDER) for each in hypotheses]
    counts = np.array(rows, float).reshape(-1, CHRF_ORDER, 3)
    counts[..., 0] *= counts[..., 1] > 0  # what the reference is too short for does not count
    return counts.reshape(-1, 3 * CHRF_ORDER)


def _chrf_error(sums: Floats) -> Floats:
    ours, theirs, both = np.moveaxis(sums.reshape(*sums.shape[:-1], CHRF_ORDER, 3), -1, 0)
    counts = (ours > 0) & (theirs > 0)  # lengths that texts are too short for do not count
    precision = np.divide(both, ours, out=np.zeros_like(both), where=counts)
    recall = np.divide(both, theirs, out=np.zeros_like(both), where=counts)
    lengths = np.maximum(counts.sum(axis=-1), 1)
    mean_precision, mean_recall = precision.sum(axis=-1) / lengths, recall.sum(axis=-1) / lengths
    factor = CHRF_BETA**2
    below = factor * mean_precision + mean_recall
    product = (1 + factor) * mean_precision * mean_recall
    scores = np.divide(product, below, out=np.zeros_like(below), where=below > 0)
    errors: Floats = 100.0 - 100.0 * scores
    return errors


METRICS = {
    metric.name: metric
    for metric in (
        ErrorMetric("wer", _word_edits, _error_rate, lambda error: 100.0 * error),
        ErrorMetric("cer", _character_edits, _error_rate, lambda error: 100.0 * error),
        ErrorMetric("bleu", _bleu_statistics, _bleu_error, lambda error: 100.0 - error, True),
        ErrorMetric("chrf", _chrf_statistics, _chrf_error, lambda error: 100.0 - error, True),
    )
}
"""By name. Error rates are jiwer's: characters are those of the text without the blanks around it.
BLEU (13a, exponential smoothing) and chrF are sacrebleu's."""
