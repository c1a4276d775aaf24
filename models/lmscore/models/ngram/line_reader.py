"""A text file, compressed or not, as large blocks of whole lines and as single lines."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from lmscore.models.compression import DAMAGE, decompressed
from lmscore.models.errors import ModelFormatError, ModelFormatWarning

Progress = Callable[[int, int], None]
"""Called with the bytes read of a file and its size."""

BLOCK_BYTES = 1 << 22
MAX_LINE_BYTES = 1 << 27  # of buffer: a line may take half of it
_PIECE_BYTES = 1 << 16  # decompressed at once
LINE_FEED = 10
BLANKS = b"\0\t\r\n "


class LineReader:
    """A file in blocks of whole lines."""

    def __init__(self, path: Path, raw: IO[bytes], progress: Progress | None) -> None:
        self.path = path
        self._raw = raw
        self.size = path.stat().st_size
        self.compressed = (file := decompressed(raw)) is not raw
        self._file = file
        self._progress = progress
        self._allocate(bytearray(BLOCK_BYTES))
        self.position = 0
        self.end = 0  # block[position:end] are whole lines
        self._filled = 0  # block[end:filled] is the start of one more
        self._at_end = False
        self._damage: Exception | None = None  # behind what has been read
        self.line = 1  # number of the line at position

    def refill(self) -> bool:
        """Move on to the next block; False at the end of the file."""
        rest = self._filled - self.end
        self._buffer[:rest] = self._buffer[self.end : self._filled]
        self.position = self.end = 0
        self._filled = rest
        while self.end == 0 and not self._at_end:
            if self._filled > len(self._buffer) // 2:
                self._grow()
            self._read_once()
        return self.end > 0

    def next_line(self) -> bytes | None:
        """One line without its end, or None at the end of the file."""
        if self.position == self.end and not self.refill():
            return None
        stop = self._buffer.find(b"\n", self.position, self.end)
        line = bytes(self._buffer[self.position : stop])
        self.position = stop + 1
        self.line += 1
        return line

    def next_text_line(self) -> bytes | None:
        """The next line that is not blank, without blanks around it, or None."""
        while (line := self.next_line()) is not None:
            if line := line.strip(BLANKS):
                return line
        return None

    def fail(self, problem: str) -> NoReturn:
        """Raise ModelFormatError about the line that next_line gave last."""
        raise ModelFormatError(self.path, problem, line=max(self.line - 1, 1))

    def warn(self, problem: str) -> None:
        """Warn about the line that next_line gave last."""
        place = f"{self.path}:{max(self.line - 1, 1)}"
        warnings.warn(f"{place}: {problem}", ModelFormatWarning, stacklevel=2)

    def _grow(self) -> None:
        if len(self._buffer) >= MAX_LINE_BYTES:
            raise ModelFormatError(
                self.path, f"a line of more than {MAX_LINE_BYTES >> 21} MB", line=self.line
            )
        self._allocate(self._buffer + bytes(len(self._buffer)))

    def _allocate(self, buffer: bytearray) -> None:
        self._buffer = buffer
        # Read-only like the texts that are scored: one type, one compiled hash of a word.
        self.block = np.frombuffer(memoryview(buffer).toreadonly(), np.uint8)

    def _read_once(self) -> None:
        start = self._filled
        # One byte stays free for the line feed that the last line may lack.
        count = self._read_into(memoryview(self._buffer)[start:-1])
        if self._progress is not None:
            self._progress(self._raw.tell(), self.size)
        if count:
            self._filled += count
            self.end = self._buffer.rfind(b"\n", start, self._filled) + 1
            return
        self._at_end = True
        if self._filled and self._buffer[self._filled - 1] != LINE_FEED:
            self._buffer[self._filled] = LINE_FEED
            self._filled += 1
        self.end = self._filled

    def _read_into(self, room: memoryview) -> int:
        """Fill room; what comes before damage is given first, so that its line can be told."""
        if self._damage is not None:
            raise self._damage
        if not self.compressed:
            return self._file.readinto(room)  # type: ignore[attr-defined]
        filled = 0
        try:
            while count := self._file.readinto1(room[filled : filled + _PIECE_BYTES]):  # type: ignore[attr-defined]
                filled += count
        except DAMAGE as error:
            if not filled:
                raise
            self._damage = error
        return filled
