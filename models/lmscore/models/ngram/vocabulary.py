"""The words of an n-gram model, by id and by text, in flat arrays that a file can be mapped to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.ngram.words import (
    WordTable,
    build_word_table,
    find_word,
    hash_word,
    is_separator,
    pool_words,
)
from lmscore.models.vocabulary import BOS, EOS, UNK


class NgramVocabulary:
    """The words of an n-gram model, ids 0 … len - 1; a Vocabulary."""

    def __init__(
        self,
        pool: NDArray[np.uint8],
        offsets: NDArray[np.int64],
        table: WordTable,
        special_ids: tuple[int, int, int],
    ) -> None:
        """special_ids: those of ``<s>``, ``</s>`` and ``<unk>``; see build for the arrays."""
        self.pool = pool  # the words one after the other
        self.offsets = offsets  # (words + 1,) where each begins in the pool
        self.table = table  # ids of the words that a text may contain
        self.bos_id, self.eos_id, self.unk_id = special_ids

    @classmethod
    def build(cls, words: list[bytes]) -> NgramVocabulary:
        """The vocabulary of words by id, with ``<s>``, ``</s>`` and ``<unk>`` among them.

        The table lacks ``<s>`` and ``<unk>``, which a text can only contain as unknown words.
        Raises DuplicateWordError.
        """
        pool, offsets = pool_words(words)
        bos, eos, unk = (words.index(word.encode()) for word in (BOS, EOS, UNK))
        ids = [i for i in range(len(words)) if i not in {bos, unk}]
        table = build_word_table(
            *pool_words([words[i] for i in ids]), np.array(ids, np.uint32), len(words)
        )
        return cls(pool, offsets, table, (bos, eos, unk))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def token(self, token_id: int) -> str:
        """The token's text; bytes that are not UTF-8 show as U+FFFD."""
        if not 0 <= token_id < len(self):
            raise IndexError(token_id)
        begin, end = self.offsets[token_id : token_id + 2].tolist()
        return self.pool[begin:end].tobytes().decode(errors="replace")

    def tokens(self, token_ids: Sequence[int]) -> list[str]:
        """The texts of many tokens."""
        return [self.token(token_id) for token_id in token_ids]

    def id(self, token: str) -> int:
        """The token's id; unk_id for one that is not here, and for ``<s>``, never an event."""
        try:
            encoded = np.frombuffer(token.encode(), np.uint8)
        except UnicodeEncodeError:  # a lone surrogate
            return self.unk_id
        found = int(_find_whole(self.table, encoded))
        return found if found >= 0 else self.unk_id


@kernel
def _find_whole(table: WordTable, word: NDArray[np.uint8]) -> int:
    """Id of a word, or -1; something with a separator in it is not a word."""
    if word.size == 0 or is_separator(word[0]):
        return -1
    value, end = hash_word(word, 0, word.size, table.parameters[2])
    return find_word(table, value) if end == word.size else -1
