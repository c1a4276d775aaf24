"""Where lists come from: a file, standard input, or a folder of files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from lmscore.client.textfile import STDIN, LineReader


@dataclass
class Source:
    """The files of a path, and how much of them was read.

    ``beam_size`` is what formats without ids have to be told: rows a list.
    """

    path: str
    beam_size: int | None = None
    _readers: list[LineReader] = field(default_factory=list)
    _finished_bytes: int = 0

    @classmethod
    def of(cls, lines: LineReader, beam_size: int | None = None) -> Self:
        """A source that is a file somebody has begun with."""
        source = cls(lines.path, beam_size, [lines])
        source.lines = lines
        return source

    @property
    def is_folder(self) -> bool:
        """Whether the path is one."""
        return self.path != STDIN and Path(self.path).is_dir()

    @cached_property
    def lines(self) -> LineReader:
        """The file, if it is one."""
        return self.reader(self.path)

    def reader(self, path: str) -> LineReader:
        """A file of the source, which counts for its position from now on."""
        reader = LineReader(path)
        self._readers.append(reader)
        return reader

    @cached_property
    def size(self) -> int | None:
        """Bytes of all files; absent where the end is not known beforehand."""
        if not self.is_folder:
            return self.lines.size
        return sum(each.stat().st_size for each in Path(self.path).rglob("*") if each.is_file())

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        for reader in self._readers:
            if reader.finished:
                self._finished_bytes += reader.position
        self._readers = [each for each in self._readers if not each.finished]
        return self._finished_bytes + sum(each.position for each in self._readers)

    def close(self) -> None:
        """Leave the rest unread."""
        for reader in self._readers:
            reader.close()
