"""Reads text files line by line: plain or gzipped, strictly UTF-8."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

STDIN = "-"
MAX_LINE_BYTES = 16 * 2**20
"""A longer line would not fit into a server's default message; and a file may have no line ends."""
_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = "\ufeff"


class FileError(Exception):
    """A file cannot be read, or is not what it should be; names the file and maybe the line."""

    def __init__(self, path: str, problem: str, *, line: int | None = None) -> None:
        self.path = path
        self.line = line  # from 1
        self.problem = problem
        name = "standard input" if path == STDIN else path
        place = f"{name}:{line}" if line is not None else name
        super().__init__(f"{place}: {problem}")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, without its end."""

    number: int  # from 1
    text: str


class LineReader:
    """The lines of a file, or of standard input if the path is "-", to be read once.

    Iterating raises FileError. A byte order mark and the CR of CRLF are left out.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: io.BufferedReader | None = None

    @property
    def size(self) -> int | None:
        """Bytes of the file, packed if it is; absent where the end is not known beforehand."""
        path = Path(self.path)
        return path.stat().st_size if self.path != STDIN and path.is_file() else None

    @property
    def position(self) -> int:
        """How many of those bytes have been read; 0 where the size is not known."""
        if self._file is None or self.size is None:
            return 0  # a pipe cannot even tell
        return self.size if self._file.closed else self._file.tell()

    def __iter__(self) -> Iterator[Line]:
        try:
            with _opened(self.path) as self._file:
                yield from self._lines(self._file)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise FileError(self.path, f"broken gzip data: {error}") from error
        except OSError as error:
            raise FileError(self.path, error.strerror or str(error)) from error

    def _lines(self, file: io.BufferedReader) -> Iterator[Line]:
        packed = file.peek(2)[:2] == _GZIP_MAGIC
        data = gzip.GzipFile(fileobj=file) if packed else file
        begin = 0  # of the line, in bytes of the text
        for number in count(1):
            line = data.readline(MAX_LINE_BYTES + 1)
            if not line:
                return
            if len(line) > MAX_LINE_BYTES:
                problem = f"the line is longer than {MAX_LINE_BYTES} bytes"
                raise FileError(self.path, problem, line=number)
            yield Line(number, self._decoded(line, number, begin))
            begin += len(line)

    def _decoded(self, line: bytes, number: int, begin: int) -> str:
        content = line.removesuffix(b"\n").removesuffix(b"\r")
        try:
            return content.decode().removeprefix(_BYTE_ORDER_MARK if begin == 0 else "")
        except UnicodeDecodeError as error:
            problem = (
                f"not UTF-8: byte 0x{content[error.start]:02x} at offset {begin + error.start}"
                f" of the text, {error.start} of the line"
            )
            raise FileError(self.path, problem, line=number) from error


@contextmanager
def _opened(path: str) -> Iterator[io.BufferedReader]:
    if path != STDIN:
        with Path(path).open("rb") as file:
            yield file
    elif sys.stdin is None:  # the shell's <&-
        raise FileError(STDIN, "it is closed")
    elif isinstance(sys.stdin.buffer, io.BufferedReader):
        yield sys.stdin.buffer
    else:  # something put in its place
        yield io.BufferedReader(io.BytesIO(sys.stdin.buffer.read()))
