"""subword-nmt: merges learned by byte-pair encoding, and a vocab.txt of pieces marked with @@.

Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from lmscore.models.errors import ModelFormatError
from lmscore.models.language_model import Texts, TokenizedTexts
from lmscore.models.tokenization.decoder import WindowDecoder
from lmscore.models.tokenization.offsets import flat_ids, flat_spans, tokenized
from lmscore.models.tokenization.tokenizer import (
    NO_ID,
    SpecialIds,
    SpecialNames,
    Tokenizer,
    TokenizerKind,
    TokenVocabulary,
)
from lmscore.models.tokenization.vocabulary_file import ids_of, read_lines
from lmscore.models.tokenization.word_places import find_words
from lmscore.models.vocabulary import UNK

_END = "</w>"
_JOINS = "@@"
_MOST_CACHED = 1 << 17  # words


class Merges(NamedTuple):
    """What a codes file says."""

    ranks: dict[tuple[str, str], int]  # the lower, the sooner two symbols are joined
    end_is_symbol: bool  # version 0.1: a word's end is a symbol of its own to begin with


class _Pieces(NamedTuple):
    """A word in pieces."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]  # bytes of the word


class SubwordNmtTokenizer(Tokenizer):
    """Words, between the separators of all models here, in pieces; @@ says that a word goes on.

    A piece that the vocabulary lacks is unknown; what a text writes as ``<s>`` or ``<unk>`` is
    split into pieces as any other word.
    """

    kind: ClassVar[TokenizerKind] = "subwords"

    def __init__(self, merges: Merges, pieces: Sequence[str], special_ids: SpecialIds) -> None:
        """Pieces by id, all different."""
        self._merges = merges
        self._vocabulary = TokenVocabulary(pieces, special_ids)
        never = {special_ids.bos, special_ids.unk}
        self._ids = {piece: i for i, piece in enumerate(pieces) if i not in never}
        self._silent = {special_ids.bos, special_ids.eos}
        self._cache: dict[bytes, _Pieces] = {}

    @classmethod
    def from_files(cls, path: Path, codes: Path, names: SpecialNames) -> SubwordNmtTokenizer:
        """The tokenizer of a vocab.txt and codes; raises ModelNotFoundError, ModelFormatError."""
        pieces = read_lines(path)
        return cls(read_merges(codes), pieces, names.ids(path, ids_of(path, pieces)))

    @property
    def vocabulary(self) -> TokenVocabulary:
        """The pieces as the file writes them, by id."""
        return self._vocabulary

    def encode(self, texts: Texts) -> TokenizedTexts:
        """The pieces of the words."""
        words = find_words(texts)
        data = texts.data.tobytes()
        places = np.stack((words.begins, words.ends), axis=1).tolist()
        pieces = [self._split(data[begin:end]) for begin, end in places]
        counts = np.fromiter((len(word.ids) for word in pieces), np.int64, len(pieces))
        of_words = np.concatenate(([0], np.cumsum(counts)))  # where the pieces of each begin
        offsets = of_words[words.offsets]
        ids = flat_ids([word.ids for word in pieces], int(of_words[-1]))
        spans = flat_spans([word.spans for word in pieces], len(ids))
        begins = words.begins - np.repeat(texts.offsets[:-1], np.diff(words.offsets))
        oov = ids == NO_ID
        ids[oov] = self._vocabulary.unk_id
        return tokenized(offsets, ids, spans + np.repeat(begins, counts)[:, None], oov)

    def decode(self, token_ids: Sequence[int]) -> bytes:
        """The words with a blank between each two."""
        return self._join(token_ids).encode()

    def text_decoder(self, prompt: bytes) -> WindowDecoder:
        """Turns pieces that continue a prompt into text."""
        texts = Texts(np.frombuffer(prompt, np.uint8), np.array([0, len(prompt)]))
        return WindowDecoder(prompt, self.encode(texts).token_ids.tolist(), self._join, _no_byte)

    def _split(self, word: bytes) -> _Pieces:
        pieces = self._cache.get(word)
        if pieces is None:
            if len(self._cache) >= _MOST_CACHED:
                self._cache = {}
            pieces = self._cache[word] = self._split_anew(word.decode())
        return pieces

    def _split_anew(self, word: str) -> _Pieces:
        symbols = merge(word, self._merges)
        names = [symbol + _JOINS for symbol in symbols[:-1]] + symbols[-1:]
        ends = np.cumsum([0, *(len(symbol.encode()) for symbol in symbols)]).tolist()
        return _Pieces(tuple(self._ids.get(name, NO_ID) for name in names), tuple(pairwise(ends)))

    def _join(self, token_ids: Sequence[int]) -> str:
        pieces = [self._piece(i) for i in token_ids if i not in self._silent]
        return (" ".join(pieces) + " ").replace(_JOINS + " ", "").removesuffix(" ")

    def _piece(self, token_id: int) -> str:
        return UNK if token_id == NO_ID else self._vocabulary.token(token_id)


def read_merges(path: Path) -> Merges:
    """The merges of a codes file; raises ModelNotFoundError, ModelFormatError."""
    lines = read_lines(path)
    has_header = lines[0].startswith("#version:")
    version = lines[0].removeprefix("#version:").strip() if has_header else "0.1"
    if version not in {"0.1", "0.2"}:
        raise ModelFormatError(path, f"version {version} of codes is not known", line=1)
    ranks: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines[has_header:], 1 + has_header):
        symbols = line.strip(" ").split(" ")
        if len(symbols) != 2:
            raise ModelFormatError(path, f'"{line}": not two symbols and a blank', line=number)
        ranks.setdefault((symbols[0], symbols[1]), number)
    return Merges(ranks, version == "0.1")


def merge(word: str, merges: Merges) -> list[str]:
    """The symbols of a word once no two neighbours can be joined, without the mark of its end."""
    if len(word) == 1:
        return [word]
    symbols = [*word, _END] if merges.end_is_symbol else [*word[:-1], word[-1] + _END]
    symbols = _Joining(symbols, merges.ranks).all()
    symbols[-1] = symbols[-1].removesuffix(_END)
    return symbols if symbols[-1] else symbols[:-1]


class _Joining:
    """Symbols in a linked list, with a heap of the pairs to join: of long words, too, soon done."""

    def __init__(self, symbols: Sequence[str], ranks: Mapping[tuple[str, str], int]) -> None:
        self._ranks = ranks
        self._symbols: list[str | None] = list(symbols)  # None: joined to the one before it
        self._next = [*range(1, len(symbols)), -1]
        self._before = list(range(-1, len(symbols) - 1))
        pairs = enumerate(pairwise(symbols))
        self._heap = [(ranks[pair], place, pair) for place, pair in pairs if pair in ranks]
        heapq.heapify(self._heap)

    def all(self) -> list[str]:
        """The symbols when no two neighbours can be joined any more."""
        while self._heap:
            # One pair is joined wherever it is, from the left, before what that leads to counts.
            places = [self._heap[0][1]]
            rank, _, pair = heapq.heappop(self._heap)
            while self._heap and self._heap[0][0] == rank:
                places.append(heapq.heappop(self._heap)[1])
            for place in [place for place in places if self._join(place, pair)]:
                self._push(self._before[place])
                self._push(place)
        return [symbol for symbol in self._symbols if symbol is not None]

    def _join(self, place: int, pair: tuple[str, str]) -> bool:
        """Join a pair, if it is still there."""
        after = self._next[place]
        if after < 0 or (self._symbols[place], self._symbols[after]) != pair:
            return False
        self._symbols[place], self._symbols[after] = pair[0] + pair[1], None
        self._next[place] = self._next[after]
        if self._next[after] >= 0:
            self._before[self._next[after]] = place
        return True

    def _push(self, place: int) -> None:
        left = self._symbols[place] if place >= 0 else None
        right = self._symbols[self._next[place]] if place >= 0 and self._next[place] >= 0 else None
        if left is not None and right is not None and (left, right) in self._ranks:
            heapq.heappush(self._heap, (self._ranks[left, right], place, (left, right)))


def _no_byte(token_id: int) -> None:  # noqa: ARG001 pieces are whole characters
    return None
