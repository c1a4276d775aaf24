"""Text to word ids: a hash table of words that grows as text is read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import ONE, i64, inline, kernel, u64
from lmscore.models.ngram.words import hash_word, is_separator
from lmscore.models.vocabulary import BOS, EOS, UNK

UNK_ID, BOS_ID, EOS_ID = 0, 1, 2  # of every lexicon
_LINE_FEED = 10
_SEED: Any = np.uint64(0x9E3779B97F4A7C15)
_ID_MASK: Any = np.uint64(0xFFFFFFFF)

# Places in _words.
_COUNT, _POOL_END = range(2)

# Why encoding stopped.
_DONE, _FULL, _SENTENCE_MARK = range(3)


class SentenceMarkError(ValueError):
    """A text contains ``<s>`` or ``</s>`` as a word; line counts from 0 within it."""

    def __init__(self, mark: str, line: int) -> None:
        self.mark = mark
        self.line = line
        super().__init__(f"line {line} contains {mark}")


class Lexicon:
    """Words by id: ``<unk>`` 0, ``<s>`` 1, ``</s>`` 2, then in the order of their appearance.

    A slot of the table is 64 bits, the upper half of a word's hash over its id + 1; 0 is empty.
    Words are compared byte by byte, so that no two are ever taken for one another.
    """

    def __init__(self) -> None:
        self._slots = np.zeros(1 << 16, np.uint64)
        self._pool = np.empty(1 << 20, np.uint8)  # the words one after the other
        self._offsets = np.zeros((1 << 15) + 1, np.int64)  # where each begins in the pool
        self._words = np.zeros(2, np.int64)
        for mark in (UNK, BOS, EOS):
            self.add(mark.encode())

    def __len__(self) -> int:
        return int(self._words[_COUNT])

    @property
    def words(self) -> list[bytes]:
        """The words by id."""
        pool = self._pool.tobytes()
        offsets = self._offsets[: len(self) + 1].tolist()
        return [pool[offsets[i] : offsets[i + 1]] for i in range(len(self))]

    def add(self, word: bytes) -> None:
        """Enter one word, a sentence mark even."""
        self._make_room(len(word))
        _add_word(
            self._slots, self._pool, self._offsets, self._words, np.frombuffer(word, np.uint8)
        )

    def encode(self, text: bytes, *, grow: bool = True) -> NDArray[np.uint32]:
        """Ids of a text of whole lines: every line is ``<s> words </s>``.

        A word that is not here is added if the lexicon may grow, else it is ``<unk>``. Raises
        SentenceMarkError for a text with ``<s>`` or ``</s>`` in it.
        """
        data = np.frombuffer(text, np.uint8)
        ids = np.empty(2 * len(data) + 2, np.uint32)  # most of it is never touched
        self._make_room(len(data))
        position = written = 0
        while True:
            why, position, written = _encode(
                data, position, written, ids, grow,
                self._slots, self._pool, self._offsets, self._words,
            )  # fmt: skip
            if why == _DONE:
                return ids[:written]
            if why == _SENTENCE_MARK:
                mark = EOS if text.startswith(EOS.encode(), position) else BOS
                raise SentenceMarkError(mark, text.count(b"\n", 0, position))
            self._double_table()

    def _make_room(self, more_bytes: int) -> None:
        """Let the pool have room for all words of a text."""
        needed = int(self._words[_POOL_END]) + more_bytes
        if needed > len(self._pool):
            self._pool = _enlarged(self._pool, max(needed, 2 * len(self._pool)))

    def _double_table(self) -> None:
        if len(self) >= 1 << 31:
            raise OverflowError("a corpus of more than two billion different words")
        self._offsets = _enlarged(self._offsets, 2 * len(self._offsets) - 1)
        slots = np.zeros(2 * len(self._slots), np.uint64)
        _rehash(slots, self._pool, self._offsets, self._words)
        self._slots = slots


def _enlarged(array: NDArray[Any], size: int) -> NDArray[Any]:
    larger = np.empty(size, array.dtype)
    larger[: len(array)] = array
    return larger


@kernel
def _encode(
    data: NDArray[np.uint8],
    position: int,
    written: int,
    ids: NDArray[np.uint32],
    grow: bool,
    slots: NDArray[np.uint64],
    pool: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    words: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Write ids from written on; why it stopped, at which byte, and how many ids there are."""
    end = data.size
    in_line = written > 0 and ids[written - 1] != EOS_ID
    while position < end:
        byte = data[position]
        if is_separator(byte):
            position += 1
            if byte == _LINE_FEED:
                if not in_line:
                    ids[written] = BOS_ID
                    written += 1
                ids[written] = EOS_ID
                written += 1
                in_line = False
            continue
        if words[_COUNT] + 1 >= offsets.size:
            return _FULL, position, written
        if not in_line:
            ids[written] = BOS_ID
            written += 1
            in_line = True
        value, stop = hash_word(data, position, end, _SEED)
        word = _find_or_add(data, position, stop, value, grow, slots, pool, offsets, words)
        if BOS_ID <= word <= EOS_ID:
            return _SENTENCE_MARK, position, written
        ids[written] = word
        written += 1
        position = stop
    if in_line:
        ids[written] = EOS_ID
        written += 1
    return _DONE, position, written


@inline
def _find_or_add(
    data: NDArray[np.uint8],
    begin: int,
    end: int,
    value: Any,
    grow: bool,
    slots: NDArray[np.uint64],
    pool: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    words: NDArray[np.int64],
) -> int:
    """Id of data[begin:end], whose hash is value."""
    length = end - begin
    mask = u64(slots.size) - ONE
    at = value & mask
    while slots[at] != 0:
        if (slots[at] ^ value) & ~_ID_MASK == 0:
            word = i64(slots[at] & _ID_MASK) - 1
            start = offsets[word]
            if offsets[word + 1] - start == length:
                same = 0
                while same < length and pool[start + same] == data[begin + same]:
                    same += 1
                if same == length:
                    return word
        at = (at + ONE) & mask
    if not grow:
        return UNK_ID
    word = words[_COUNT]
    for i in range(length):
        pool[words[_POOL_END] + i] = data[begin + i]
    words[_COUNT] += 1
    words[_POOL_END] += length
    offsets[word + 1] = words[_POOL_END]
    slots[at] = (value & ~_ID_MASK) | u64(word + 1)
    return word


@kernel
def _add_word(
    slots: NDArray[np.uint64],
    pool: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    words: NDArray[np.int64],
    word: NDArray[np.uint8],
) -> None:
    value, end = hash_word(word, 0, word.size, _SEED)
    _find_or_add(word, 0, end, value, True, slots, pool, offsets, words)


@kernel
def _rehash(
    slots: NDArray[np.uint64],
    pool: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    words: NDArray[np.int64],
) -> None:
    """Enter all words into larger, empty slots."""
    mask = u64(slots.size) - ONE
    for word in range(words[_COUNT]):
        value, _ = hash_word(pool, offsets[word], offsets[word + 1], _SEED)
        at = value & mask
        while slots[at] != 0:
            at = (at + ONE) & mask
        slots[at] = (value & ~_ID_MASK) | u64(word + 1)
