"""Output that grows list by list, in one file or several, and can be taken up where it stopped."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from lmscore.client.nbest_formats.format import Layout, Parts
from lmscore.client.textfile import FileError

_MOST_OPEN = 256


class Output(Protocol):
    """Takes text for one or several files."""

    def append(self, parts: Parts) -> None:
        """Write each text at the end of its file."""
        ...

    def flush(self) -> None:
        """Hand everything to the operating system."""
        ...


class AppendedFiles:
    """A file, or the files of a folder; a file is emptied or made when it is first written to.

    With ``offsets``, those of an earlier run that was ended by whatever: its files go on from
    there, and what it wrote behind is dropped. Raises FileError and OSError.
    """

    def __init__(
        self, path: str, layout: Layout = Layout.FILE, offsets: Mapping[str, int] | None = None
    ) -> None:
        self._path = Path(path)
        self._layout = layout
        self._offsets = dict(offsets or {})
        self._open: OrderedDict[str, BinaryIO] = OrderedDict()
        if layout is Layout.FILE:
            self._file("")
        else:
            self._path.mkdir(parents=True, exist_ok=True)
        for name in self._offsets:
            self._file(name)  # a kept file may get nothing more

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def offsets(self) -> Mapping[str, int]:
        """Bytes of each file, but for those that are written at once."""
        return self._offsets

    def append(self, parts: Parts) -> None:
        """Write each text at the end of its file."""
        for name, text in parts.items():
            data = text.encode()
            if self._layout is Layout.FILE_A_LIST:
                (self._path / name).write_bytes(data)
                continue
            self._file(name).write(data)
            self._offsets[name] += len(data)

    def flush(self) -> None:
        """Hand everything to the operating system: it survives this process from now on."""
        for file in self._open.values():
            file.flush()

    def sync(self) -> None:
        """Hand everything to the disk: it survives the machine from now on."""
        for file in self._open.values():
            file.flush()
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # a pipe or device has no disk
                os.fsync(file.fileno())

    def close(self) -> None:
        """Write the rest and close the files."""
        while self._open:
            self._open.popitem()[1].close()

    def _file(self, name: str) -> BinaryIO:
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        if len(self._open) >= _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[name] = file = self._opened(name)
        return file

    def _opened(self, name: str) -> BinaryIO:
        path = self._path / name if name else self._path
        if name not in self._offsets:
            self._offsets[name] = 0
            path.parent.mkdir(parents=True, exist_ok=True) if name else None
            return path.open("wb")
        file = path.open("r+b")
        size = file.seek(0, os.SEEK_END)
        if size < self._offsets[name]:
            file.close()
            problem = f"it has {size} bytes where {self._offsets[name]} were written"
            raise FileError(str(path), f"{problem}: start again without --resume")
        file.truncate(self._offsets[name])
        file.seek(self._offsets[name])
        return file
