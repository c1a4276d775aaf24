"""The sections of a mapped file one after another, none of them past its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import ModelFormatError


class Sections:
    """Hands out a file's sections in order; raises ModelFormatError where the file is too short."""

    def __init__(self, file: NDArray[np.uint8], path: Path, position: int) -> None:
        self.file = file
        self.path = path
        self.position = position  # bytes from the start of the file

    def take(self, size: int, what: str) -> int:
        """The place of the next section, size bytes long."""
        begin = self.position
        if begin + size > len(self.file):
            problem = f"the file has {len(self.file)} bytes, but its {what} need {begin + size}"
            raise ModelFormatError(self.path, problem)
        self.position = begin + size
        return begin

    def byte(self, offset: int, what: str) -> int:
        """A byte of the section that comes next, offset bytes into it, without taking it."""
        begin = self.position
        self.take(offset + 1, what)
        self.position = begin
        return int(self.file[begin + offset])
