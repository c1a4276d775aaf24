"""Word error rates of n-best lists (with the library jiwer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import jiwer

from lmscore.client.combination import given_best
from lmscore.client.requests import NBestList


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Substitutions, deletions and insertions against a number of reference words."""

    errors: int = 0
    words: int = 0

    def __add__(self, other: Self) -> WordErrors:
        return WordErrors(self.errors + other.errors, self.words + other.words)

    @property
    def rate(self) -> float:
        """Errors a word; of no words, 0 without errors and +inf with them."""
        if self.words:
            return self.errors / self.words
        return float("inf") if self.errors else 0.0


def word_errors(reference: str, hypotheses: Sequence[str]) -> list[WordErrors]:
    """The fewest edits that make the reference of each hypothesis."""
    aligned = jiwer.process_words([reference] * len(hypotheses), list(hypotheses))
    words = len(aligned.references[0]) if aligned.references else 0
    return [
        WordErrors(sum(_edits(chunk) for chunk in alignment), words)
        for alignment in aligned.alignments
    ]


def _edits(chunk: jiwer.AlignmentChunk) -> int:
    if chunk.type == "equal":
        return 0
    # An insertion has no reference words, a deletion none of the hypothesis.
    reference_words = chunk.ref_end_idx - chunk.ref_start_idx
    return max(reference_words, chunk.hyp_end_idx - chunk.hyp_start_idx)


@dataclass(slots=True)
class WerComparison:
    """Corpus WER of the lists' own choice, of the re-ranked one, and of the best possible one."""

    before: WordErrors = field(default_factory=WordErrors)
    after: WordErrors = field(default_factory=WordErrors)
    oracle: WordErrors = field(default_factory=WordErrors)
    lists: int = 0  # that have a reference

    def add(self, nbest: NBestList, winner: int) -> None:
        """Count a list and the index of its winner; lists without a reference do not count."""
        if nbest.reference is None:
            return
        errors = word_errors(nbest.reference, [each.text for each in nbest.hypotheses])
        self.before += errors[given_best(nbest)]
        self.after += errors[winner]
        self.oracle += min(errors, key=lambda each: each.errors)
        self.lists += 1
