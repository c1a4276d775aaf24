"""Reads text files: plain or packed by gzip, bzip2 or xz, strictly UTF-8."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"
MAX_LINE_BYTES = 16 * 2**20
"""A longer line would not fit into a server's default message; and a file may have no line ends."""
_OPENING_BYTES = 2**16
_PIECE_BYTES = 2**16
_BYTE_ORDER_MARK = "\ufeff"


class _Readable(Protocol):
    """A file of bytes, packed or not."""

    def readline(self, size: int = -1, /) -> bytes: ...

    def read1(self, size: int = -1, /) -> bytes: ...


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
    """The text of a file, or of standard input if the path is "-", to be read once.

    Reading raises FileError. A byte order mark and the CR of CRLF are left out.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: io.BufferedReader | None = None
        self._data: _Readable | None = None
        self._head = b""
        self.finished = False  # whether it was read, or given up

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

    def opening(self) -> str:
        """What the file begins with: two lines or 64 KiB, if it is as long; for telling formats."""
        with self._explained():
            data = self._opened()
            while len(self._head) < _OPENING_BYTES and self._head.lstrip().count(b"\n") < 2:
                more = data.read1(_OPENING_BYTES)
                if not more:
                    break
                self._head += more
        return self._head.decode(errors="replace").removeprefix(_BYTE_ORDER_MARK)

    def close(self) -> None:
        """Leave the rest unread."""
        self.finished = True
        if self._file is not None and self._file is not _standard_input():
            self._file.close()

    def __iter__(self) -> Iterator[Line]:
        try:
            with self._explained():
                yield from self._lines(self._whole())
        finally:
            self.close()

    def pieces(self) -> Iterator[str]:
        """The same text in pieces that have nothing to do with lines."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        begin = 0
        try:
            with self._explained():
                data = self._whole()
                while True:
                    piece = data.read1(_PIECE_BYTES)
                    text = self._decoded_piece(decoder, piece, begin)
                    yield text.removeprefix(_BYTE_ORDER_MARK if begin == 0 else "")
                    begin += len(piece)
                    if not piece:
                        return
        finally:
            self.close()

    def _decoded_piece(self, decoder: codecs.IncrementalDecoder, piece: bytes, begin: int) -> str:
        try:
            return decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            problem = f"not UTF-8: byte 0x{error.object[error.start]:02x} near offset {begin}"
            raise FileError(self.path, f"{problem} of the text") from error

    def _opened(self) -> _Readable:
        if self._file is None:
            self._file = _open(self.path)
        if self._data is None:
            magic = self._file.peek(_LONGEST_MAGIC)
            self._data = next(
                (unpack(self._file) for start, unpack in _PACKERS if magic.startswith(start)),
                self._file,
            )
        return self._data

    def _whole(self) -> _Readable:
        """The text from its beginning, whatever was read of it for its opening."""
        data = self._opened()
        if not self._head:
            return data
        return io.BufferedReader(_Rewound(self._head, data), _PIECE_BYTES)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What goes wrong below, as a FileError."""
        try:
            yield
        except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
            raise FileError(self.path, f"broken {self._packing()} data: {error}") from error
        except OSError as error:
            broken = error.errno is None  # bz2 raises a bare OSError
            problem = f"broken {self._packing()} data: {error}" if broken else error.strerror
            raise FileError(self.path, problem or str(error)) from error

    def _packing(self) -> str:
        match self._data:
            case bz2.BZ2File():
                return "bzip2"
            case lzma.LZMAFile():
                return "xz"
            case _:
                return "gzip"

    def _lines(self, data: _Readable) -> Iterator[Line]:
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


class _Rewound(io.RawIOBase):
    """A stream with what was read of it already in front of it again."""

    def __init__(self, head: bytes, rest: _Readable) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        piece = self._head[: len(view)] or self._rest.read1(len(view))
        self._head = self._head[len(piece) :]
        view[: len(piece)] = piece
        return len(piece)


def _open(path: str) -> io.BufferedReader:
    if path != STDIN:
        return Path(path).open("rb")
    if sys.stdin is None:  # the shell's <&-
        raise FileError(STDIN, "it is closed")
    if isinstance(standard := _standard_input(), io.BufferedReader):
        return standard
    return io.BufferedReader(io.BytesIO(sys.stdin.buffer.read()))  # something put in its place


def _standard_input() -> BinaryIO | None:
    return None if sys.stdin is None else sys.stdin.buffer


_PACKERS: tuple[tuple[bytes, Callable[[io.BufferedReader], _Readable]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    *((b"BZh%d1AY&SY" % level, bz2.BZ2File) for level in range(1, 10)),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
)
_LONGEST_MAGIC = 10
