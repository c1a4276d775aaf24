"""From a table of n-grams, as readers and estimators give it, to a model that scores."""

from __future__ import annotations

from lmscore.models.ngram.build import build_automaton
from lmscore.models.ngram.model import NgramModel
from lmscore.models.ngram.table import NgramTable
from lmscore.models.ngram.vocabulary import NgramVocabulary


def model_from_table(table: NgramTable) -> NgramModel:
    """The model that a table describes; raises DuplicateEntryError and DuplicateWordError."""
    entries, children, old_ids = build_automaton(table)
    vocabulary = NgramVocabulary.build([table.words[i] for i in old_ids.tolist()])
    for array in (*entries, *children):
        array.flags.writeable = False  # as they are in a mapped file: one type for the kernels
    return NgramModel(
        entries,
        children,
        vocabulary,
        ngram_counts=tuple(len(level) for level in table.orders),
        has_unknown=table.has_unknown,
    )
