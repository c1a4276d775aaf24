"""Words, between the separators of all models here, with ids from a vocab.txt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from lmscore.models.errors import ModelFormatError
from lmscore.models.language_model import WORD_SEPARATORS, Texts, TokenizedTexts
from lmscore.models.ngram.scoring import count_words, tokenize_texts
from lmscore.models.ngram.words import WordTable, build_word_table, pool_words
from lmscore.models.tokenization.decoder import WordDecoder
from lmscore.models.tokenization.tokenizer import (
    NO_ID,
    SpecialIds,
    SpecialNames,
    Tokenizer,
    TokenizerKind,
    TokenVocabulary,
)
from lmscore.models.tokenization.vocabulary_file import ids_of, read_lines
from lmscore.models.vocabulary import UNK

_SEPARATORS = frozenset(WORD_SEPARATORS.tobytes().decode())


class WordTokenizer(Tokenizer):
    """Words of a vocabulary; every other word is unknown.

    What a text writes as ``<s>`` or ``<unk>`` is an unknown word, as in the n-gram models here.
    """

    kind: ClassVar[TokenizerKind] = "words"

    def __init__(self, words: Sequence[str], special_ids: SpecialIds) -> None:
        """Words by id, all different, of which none has a separator in it."""
        self._vocabulary = TokenVocabulary(words, special_ids)
        self._table = _table(words, special_ids)

    @classmethod
    def from_file(cls, path: Path, names: SpecialNames) -> WordTokenizer:
        """The tokenizer of a vocab.txt; raises ModelNotFoundError, ModelFormatError."""
        words = read_lines(path)
        for line, word in enumerate(words, 1):
            if not _SEPARATORS.isdisjoint(word):
                raise ModelFormatError(path, f'"{word}": a word with a separator in it', line=line)
        return cls(words, names.ids(path, ids_of(path, words)))

    @property
    def vocabulary(self) -> TokenVocabulary:
        """The words, by id."""
        return self._vocabulary

    def encode(self, texts: Texts) -> TokenizedTexts:
        """The words between separators."""
        counts = np.empty(len(texts), np.int64)
        count_words(texts.data, texts.offsets, counts)
        offsets = np.concatenate(([0], np.cumsum(counts)))
        ids = np.empty(offsets[-1], np.uint32)
        begins, ends = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64)
        unknown = len(self._vocabulary)  # no word's id, whether or not there is one for unknown
        tokenize_texts(
            self._table, texts.data, texts.offsets, unknown, -1, offsets, ids, begins, ends
        )
        oov = ids == unknown
        token_ids = np.where(oov, self._vocabulary.unk_id, ids.astype(np.int64))
        return TokenizedTexts(offsets, token_ids, begins, ends, oov)

    def decode(self, token_ids: Sequence[int]) -> bytes:
        """The words with a blank between each two."""
        return b" ".join(filter(None, map(self._text, token_ids)))

    def text_decoder(self, prompt: bytes) -> WordDecoder:
        """Turns words that continue a prompt into text."""
        return WordDecoder(prompt, self._text)

    def _text(self, token_id: int) -> bytes:
        if token_id in {self._vocabulary.bos_id, self._vocabulary.eos_id}:
            return b""
        return UNK.encode() if token_id == NO_ID else self._vocabulary.token(token_id).encode()


def _table(words: Sequence[str], special_ids: SpecialIds) -> WordTable:
    """The words that a text may contain, the end of a text among them."""
    never = {special_ids.bos, special_ids.unk} - {special_ids.eos}
    ids = [i for i in range(len(words)) if i not in never]
    pool = pool_words([words[i].encode() for i in ids])
    return build_word_table(*pool, np.array(ids, np.uint32), len(words))
