"""Text files to train on and to measure: blocks of whole lines of UTF-8, and the ids of words."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compression import damage_reported, decompressed
from lmscore.models.errors import CorpusError, ModelFormatError
from lmscore.models.estimation.lexicon import Lexicon, SentenceMarkError
from lmscore.models.estimation.segmentation import Segmenter
from lmscore.models.estimation.workspace import Workspace

BLOCK_BYTES = 1 << 22

Observer = Callable[[Path, int, int], None]
"""Told of a file, how many of its bytes were read, and its size; neither for standard input."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole lines of a file; only its last line may lack a line feed."""

    path: Path
    first_line: int  # from 1
    data: bytes  # UTF-8

    def segmented(self, segment: Segmenter | None) -> bytes:
        """The lines with blanks between their tokens; raises CorpusError for what is not UTF-8."""
        try:
            text = self.data.decode()
        except UnicodeDecodeError as error:
            raise self.error(f"not UTF-8: {error.reason}", error.start) from None
        return self.data if segment is None else segment(text).encode()

    def error(self, problem: str, at: int) -> CorpusError:
        """What is wrong at a byte of the block."""
        return CorpusError(self.path, problem, line=self.first_line + self.data.count(b"\n", 0, at))


def read_blocks(path: Path, observer: Observer | None = None) -> Iterator[Block]:
    """The blocks of a file, plain or compressed by gzip, bzip2 or xz; ``-`` is standard input.

    Raises CorpusError.
    """
    line = 1
    pending: list[bytes] = []  # the beginning of a line
    with _opened(path) as (file, stream):
        size = 0 if file is None else path.stat().st_size
        while data := stream.read(BLOCK_BYTES):
            if observer is not None and file is not None:
                observer(path, file.tell(), size)
            end = data.rfind(b"\n") + 1
            pending.append(data[:end] if end else data)
            if end:
                block = Block(path, line, b"".join(pending))
                yield block
                line += block.data.count(b"\n")
                pending = [data[end:]]
    if rest := b"".join(pending):
        yield Block(path, line, rest)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes] | None, IO[bytes]]]:
    """A file as it is, None for standard input, and its plain bytes."""
    if str(path) == "-":
        yield None, decompressed(cast("io.BufferedReader", sys.stdin.buffer))
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise CorpusError(path, error.strerror or "cannot be read") from None
    try:
        with file, damage_reported(path):
            yield file, decompressed(file)
    except ModelFormatError as error:
        raise CorpusError(path, error.problem) from None


def encode_blocks(
    blocks: Iterable[Block],
    lexicon: Lexicon,
    segment: Segmenter | None,
    *,
    grow: bool,
) -> Iterator[NDArray[np.uint32]]:
    """Ids of the tokens of blocks, every line as ``<s> … </s>``; see Lexicon.encode.

    Raises CorpusError for a line with ``<s>`` or ``</s>`` in it, whose meaning would be unclear.
    """
    for block in blocks:
        try:
            yield lexicon.encode(block.segmented(segment), grow=grow)
        except SentenceMarkError as error:
            problem = (
                f"{error.mark} within a line; every line is a sentence, and is marked as one "
                "without it"
            )
            raise CorpusError(block.path, problem, line=block.first_line + error.line) from None


def gather(
    pieces: Iterable[NDArray[np.uint32]], memory_bytes: int, workspace: Workspace
) -> NDArray[np.uint32]:
    """Pieces as one array: in memory as long as it takes no more than is given, else in a file."""
    waiting: list[NDArray[np.uint32]] = []
    waiting_bytes = 0
    file: IO[bytes] | None = None
    for piece in pieces:
        waiting.append(piece.copy())  # a piece is a small part of the array that it views
        waiting_bytes += piece.nbytes
        if waiting_bytes > memory_bytes:
            file = workspace.file() if file is None else file
            for ids in waiting:
                ids.tofile(file)
            waiting, waiting_bytes = [], 0
    if file is None:
        return np.concatenate(waiting) if waiting else np.empty(0, np.uint32)
    with file:
        for ids in waiting:
            ids.tofile(file)
        return Workspace.mapped(file, np.uint32)
