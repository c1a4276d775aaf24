"""A KenLM binary in memory: its header, its vocabulary and its n-grams, checked and located."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compression import open_model_file
from lmscore.models.contents import contents
from lmscore.models.errors import ModelFormatError
from lmscore.models.kenlm import probing, trie, trie_layout
from lmscore.models.kenlm.header import Header, Kind
from lmscore.models.kenlm.search import Matches, Queries
from lmscore.models.kenlm.sections import Sections
from lmscore.models.kenlm.vocabulary import KenlmVocabulary, read_words
from lmscore.models.kenlm.word_hashes import read_word_hashes


@dataclass(frozen=True, slots=True)
class KenlmBinary:
    """A file whose sections fill it exactly."""

    path: Path
    size: int  # bytes
    header: Header
    vocabulary: KenlmVocabulary
    tables: probing.ProbingTables | trie_layout.TrieTables

    @classmethod
    def open(cls, path: Path, *, copy: bool = False) -> Self:
        """Map or copy a file, and check it; raises ModelNotFoundError or ModelFormatError."""
        return cls.read(_bytes(path, copy=copy), path)

    @classmethod
    def read(cls, file: NDArray[np.uint8], path: Path) -> Self:
        """Check a file's bytes and locate its parts; path is for ModelFormatError."""
        header = Header.read(file, path)
        sections = Sections(file, path, header.size)
        hashes = read_word_hashes(sections, header)
        tables: probing.ProbingTables | trie_layout.TrieTables
        if header.kind is Kind.PROBING:
            tables = probing.read_tables(sections, header)
        else:
            tables = trie_layout.read_tables(sections, header)
            trie.check_ends(tables, header.counts[0], path)
        words = read_words(sections, hashes.size) if header.has_words else None
        if words is None and sections.position != len(file):
            extra = len(file) - sections.position
            raise ModelFormatError(path, f"{extra} bytes follow the end of the model")
        return cls(path, len(file), header, KenlmVocabulary(sections, hashes, words), tables)

    def look_up(self, queries: Queries) -> Matches:
        """The longest n-gram for every word and its context."""
        matches = Matches.empty(len(queries.words), self.header.order)
        if isinstance(self.tables, probing.ProbingTables):
            probing.look_up(self.tables, queries, matches)
        else:
            trie.look_up(self.tables, queries, matches)
        return matches


def _bytes(path: Path, *, copy: bool) -> NDArray[np.uint8]:
    with open_model_file(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ModelFormatError(path, "the file is empty")
        return np.frombuffer(contents(path, file, copy=copy), np.uint8)
