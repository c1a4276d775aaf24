"""Reads damaged copies of KenLM binaries; run by test_damage.py in a process of its own.

Prints of each file how many copies were refused, how many could be scored with, and how many of
these scored as the original. A copy lies against a page that may not be touched, so that reading
past its end kills the process. Whatever else a copy raises than ModelFormatError ends it too.

Usage: damage.py truncate FILE... | header FILE... | flip COUNT:FILE...
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import ModelFormatError
from lmscore.models.kenlm.binary import KenlmBinary
from lmscore.models.kenlm.model import KenlmModel
from lmscore.models.language_model import ScoreBatch, Texts

TEXTS = Texts.from_strings(
    ["the boat left the harbour before the sun was up", "we left the submarine", "", "東京 東京"]
)
PAGE = mmap.PAGESIZE
PROT_NONE = 0
LIBC = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """Memory whose last bytes are followed by a page that kills whoever touches it."""

    def __init__(self, most_bytes: int) -> None:
        usable = -(-most_bytes // PAGE) * PAGE
        self._memory = mmap.mmap(-1, usable + PAGE)
        self._bytes = np.frombuffer(self._memory, np.uint8)[:usable]
        address = self._bytes.ctypes.data + usable
        if LIBC.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), PROT_NONE) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")

    def holding(self, content: bytes) -> NDArray[np.uint8]:
        """A copy of content, begun at a multiple of 8 as a mapped file is."""
        begin = len(self._bytes) - -(-len(content) // 8) * 8
        copy = self._bytes[begin : begin + len(content)]
        copy[:] = np.frombuffer(content, np.uint8)
        return copy


def truncated(original: bytes) -> Iterator[bytes]:
    for size in range(len(original)):
        yield original[:size]


def flipped(original: bytes, count: int) -> Iterator[bytes]:
    """Copies with a few bits, bytes or numbers of 8 bytes changed."""
    for _ in range(count):
        copy = bytearray(original)
        for _ in range(random.choice((1, 1, 2, 20))):
            at = random.randrange(len(copy))
            if random.random() < 0.5:
                copy[at] ^= 1 << random.randrange(8)
            elif random.random() < 0.5:
                copy[at] = random.randrange(256)
            else:
                at = at // 8 * 8
                size = min(8, len(copy) - at)
                copy[at : at + size] = random.choice((b"\0", b"\xff", b"\x7f")) * size
        yield bytes(copy)


def header_flipped(original: bytes) -> Iterator[bytes]:
    """Copies with one bit, or all of a byte, of the header changed."""
    order = original[88]
    for at in range((108 + 8 * order + 7) // 8 * 8):
        for mask in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            copy = bytearray(original)
            copy[at] ^= mask
            yield bytes(copy)


HOW: dict[str, Callable[[bytes, str], Iterator[bytes]]] = {
    "truncate": lambda original, _: truncated(original),
    "flip": lambda original, count: flipped(original, int(count)),
    "header": lambda original, _: header_flipped(original),
}


def main(how: str, *files: str) -> None:
    faulthandler.enable()
    warnings.simplefilter("error")
    for file in files:
        count, _, name = file.rpartition(":")
        original = Path(name).read_bytes()
        copies = HOW[how](original, count)
        print(Path(name).name, end=" ", flush=True)  # which is known then if a copy kills us
        print(*outcome(original, copies, Path(name)))


def outcome(original: bytes, copies: Iterator[bytes], path: Path) -> tuple[int, int, int]:
    """How many copies were refused, could be scored with, and scored as the original."""
    random.seed(7)
    guarded = Guarded(len(original))
    expected = scores(guarded.holding(original), path)
    refused = scored = same = 0
    for copy in copies:
        try:
            result = scores(guarded.holding(copy), path)
        except ModelFormatError:
            refused += 1
        else:
            scored += 1
            same += result == expected
    return refused, scored, same


def scores(file: NDArray[np.uint8], path: Path) -> list[float]:
    """Log-probabilities of the texts, after everything else that a model can do was done."""
    model = KenlmModel(KenlmBinary.read(file, path))
    states = model.advance(model.initial_state(2), np.array([0, len(model.vocabulary) - 1]))
    if model.vocabulary.has_words:
        model.next_log_probs(states)
        model.vocabulary.tokens(range(len(model.vocabulary)))
    log_probs = model.score(ScoreBatch(TEXTS, per_token=True)).log_probs
    return [float(log_prob) for log_prob in log_probs]


if __name__ == "__main__":
    main(*sys.argv[1:])
