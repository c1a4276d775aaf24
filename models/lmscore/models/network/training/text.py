"""Text to train and measure on: lines of files, and which of them are held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lmscore.models.errors import CorpusError
from lmscore.models.estimation.corpus import read_blocks


@dataclass(frozen=True, slots=True)
class TextFile:
    """The lines of a file in UTF-8. Those that are left out are blank, so that numbers stay."""

    path: Path
    lines: list[bytes]  # line n is lines[n - 1]

    def error(self, line_index: int, problem: str) -> CorpusError:
        """What is wrong with a line."""
        return CorpusError(self.path, problem, line=line_index + 1)

    @property
    def size(self) -> int:
        """How many lines are not blank."""
        return sum(map(bool, self.lines))


def read_text(path: Path) -> TextFile:
    """A file, plain or compressed, ``-`` for standard input; raises CorpusError."""
    lines: list[bytes] = []
    for block in read_blocks(path):
        pieces = block.segmented(None).split(b"\n")
        if pieces[-1] == b"":  # what follows the last line feed
            pieces.pop()
        lines += [piece.removesuffix(b"\r") for piece in pieces]
    return TextFile(path, lines)


def split(file: TextFile, fraction: float) -> tuple[TextFile, TextFile]:
    """A file without about a share of its lines, and these.

    A line's own text decides, so that a line that is there twice is never on both sides, and the
    choice is the same for every seed, order and file.
    """
    limit = int(fraction * (1 << 64))
    chosen = [_number(line) < limit for line in file.lines]
    return (
        TextFile(file.path, _masked(file.lines, [not c for c in chosen])),
        TextFile(file.path, _masked(file.lines, chosen)),
    )


def _number(line: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "little")


def _masked(lines: list[bytes], keep: list[bool]) -> list[bytes]:
    return [line if kept else b"" for line, kept in zip(lines, keep, strict=True)]
