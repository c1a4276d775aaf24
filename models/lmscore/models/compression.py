"""Files that may be compressed: told by their first bytes, read as one stream of plain bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from lmscore.models.errors import ModelFormatError, ModelNotFoundError

_OPENERS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda raw: cast("IO[bytes]", gzip.GzipFile(fileobj=raw)),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


@contextmanager
def open_model_file(path: Path) -> Iterator[IO[bytes]]:
    """The file itself, unbuffered.

    ModelNotFoundError says why it cannot be opened, ModelFormatError why it cannot be read.
    """
    try:
        raw = path.open("rb", buffering=0)
    except FileNotFoundError:
        raise ModelNotFoundError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ModelNotFoundError(f"{path}: a folder, not a model file") from None
    except OSError as error:
        raise ModelNotFoundError(f"{path}: {error.strerror}") from None
    with raw:
        try:
            yield raw
        except OSError as error:
            raise ModelFormatError(path, _reading_problem(error)) from None


def decompressed(raw: IO[bytes]) -> IO[bytes]:
    """The plain bytes of a file that is at its start, compressed or not; a pipe if buffered."""
    if isinstance(raw, io.BufferedReader):
        head = raw.peek(8)
    else:
        head = raw.read(8)
        raw.seek(0)
    for magic, opener in _OPENERS.items():
        if head.startswith(magic):
            return opener(raw)
    return raw


DAMAGE = (EOFError, zlib.error, lzma.LZMAError, OSError)
"""What reading compressed data may raise."""


@contextmanager
def damage_reported(path: Path, line: Callable[[], int] | None = None) -> Iterator[None]:
    """Turn what the decompressors raise into ModelFormatError; line tells how far reading got."""
    try:
        yield
    except EOFError:
        problem = "the compressed data end too early"
    except (zlib.error, lzma.LZMAError) as error:
        problem = f"the compressed data are damaged: {error}"
    except OSError as error:
        problem = _reading_problem(error)
    else:
        return
    raise ModelFormatError(path, problem, line=line() if line is not None else None)


def _reading_problem(error: OSError) -> str:
    """What went wrong; decompressors raise OSError too, but without the system's error number."""
    if error.errno is None:
        return f"the compressed data are damaged: {error}"
    return f"cannot be read: {error.strerror}"
