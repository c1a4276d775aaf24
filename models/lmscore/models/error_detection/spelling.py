"""Words of a vocabulary that are spelled like another."""

from __future__ import annotations

from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from lmscore.models.errors import CapabilityError
from lmscore.models.language_model import LanguageModel

_SHORT = 4  # characters; in a longer word, two edits leave more of it than they change
_MOST = 20


class Neighbours:
    """The words of a vocabulary, to be searched by spelling."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def of(self, word: str) -> list[str]:
        """Words that are one edit away, or two for a word of five characters or more.

        An edit inserts, deletes or replaces a character or swaps two neighbours (optimal string
        alignment). Nearest first, those as near in the vocabulary's order; the word itself is not
        among them.
        """
        from rapidfuzz import process
        from rapidfuzz.distance import OSA

        edits = 1 if len(word) <= _SHORT else 2
        found = process.extract(
            word, self._words, scorer=OSA.distance, score_cutoff=edits, limit=_MOST + 1
        )
        return [near for near, _, _ in found if near != word][:_MOST]


def neighbours(model: LanguageModel[Any]) -> Neighbours:
    """Those of a model's vocabulary, which are listed once.

    Raises CapabilityError for a model whose tokens are no words or have no names.
    """
    with _lock:
        if model not in _known:
            _known[model] = _listed(model)
        return _known[model]


def _listed(model: LanguageModel[Any]) -> Neighbours:
    kind, vocabulary = model.description.tokenizer, model.vocabulary
    if kind != "words":
        problem = (
            f"the model's tokens are {kind}: it has no list of words to compare spellings with"
        )
        raise CapabilityError(problem)
    specials = {vocabulary.bos_id, vocabulary.eos_id, vocabulary.unk_id}
    return Neighbours(vocabulary.tokens([i for i in range(len(vocabulary)) if i not in specials]))


_known: WeakKeyDictionary[LanguageModel[Any], Neighbours] = WeakKeyDictionary()
_lock = Lock()
