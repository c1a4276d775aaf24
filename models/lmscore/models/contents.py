"""The bytes of a model file that is used as it is: mapped, or copied into memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import IO

from lmscore.models.errors import ModelFormatError


def contents(path: Path, file: IO[bytes], *, copy: bool) -> memoryview:
    """All bytes of an open file that is not empty, at the start of a page; read-only.

    Mapped bytes are shared by all processes and read when they are used; a file that is truncated
    meanwhile ends the process. Copied ones have nothing to do with the file any more.
    """
    if not copy:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    size = os.fstat(file.fileno()).st_size
    memory = memoryview(mmap.mmap(-1, size))  # goes back to the system when it is dropped
    file.seek(0)
    done = 0
    while done < size:
        count = file.readinto(memory[done:])  # type: ignore[attr-defined]  # a raw file has it
        if not count:
            raise ModelFormatError(path, "the file became shorter while it was read")
        done += count
    return memory.toreadonly()
