"""MurmurHash64A, by which KenLM knows words. Public-domain algorithm by Austin Appleby."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import ONE, ZERO, inline, kernel, load_u64, u64

_MULTIPLIER: Any = np.uint64(0xC6A4A7935BD1E995)


def hash_words(
    data: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """The hash of each word data[begins[i]:ends[i]]."""
    hashes = np.empty(len(begins), np.uint64)
    _hash_words(data, begins, ends, hashes)
    return hashes


@kernel
def _hash_words(
    data: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    hashes: NDArray[np.uint64],
) -> None:
    for i in range(len(hashes)):
        hashes[i] = _hash_word(data, begins[i], ends[i])


@inline
def _hash_word(data: NDArray[np.uint8], begin: int, end: int) -> Any:
    """The hash of data[begin:end] with seed 0."""
    hashed = u64(end - begin) * _MULTIPLIER
    at = begin
    while end - at >= 8:
        part = load_u64(data, at) * _MULTIPLIER
        part = (part ^ (part >> u64(47))) * _MULTIPLIER
        hashed = (hashed ^ part) * _MULTIPLIER
        at += 8
    if at < end:
        hashed = (hashed ^ _load_tail(data, at, end)) * _MULTIPLIER
    hashed = (hashed ^ (hashed >> u64(47))) * _MULTIPLIER
    return hashed ^ (hashed >> u64(47))


@inline
def _load_tail(data: NDArray[np.uint8], begin: int, end: int) -> Any:
    """Fewer than eight bytes as a little-endian number."""
    if begin + 8 <= len(data):
        return load_u64(data, begin) & ((ONE << u64(8 * (end - begin))) - ONE)
    tail = ZERO
    for i in range(begin, end):
        tail |= u64(data[i]) << u64(8 * (i - begin))
    return tail
