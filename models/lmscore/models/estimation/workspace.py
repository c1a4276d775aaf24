"""Room for arrays: in memory, or in temporary files that the system pages in and out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Workspace:
    """Makes the large arrays of an estimation; those in files vanish with the last use of them."""

    def __init__(self, folder: Path | None = None, *, on_disk: bool = False) -> None:
        """folder: where temporary files go, by default where the system keeps them."""
        self.folder = folder
        self.on_disk = on_disk

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array whose values are to be written."""
        if not self.on_disk or np.prod(shape) == 0:
            return np.empty(shape, dtype)
        with self.file() as file:
            # A plain array over the mapping: compiled loops then see one type in both cases.
            return np.asarray(np.memmap(file, dtype, "w+", shape=shape))

    def file(self) -> Any:
        """A temporary file without a name."""
        return tempfile.TemporaryFile(dir=self.folder)

    @staticmethod
    def mapped(file: Any, dtype: DTypeLike) -> NDArray[Any]:
        """The values written to a file, which can be changed."""
        file.flush()
        if file.tell() == 0:
            return np.empty(0, dtype)
        return np.asarray(np.memmap(file, dtype, "r+"))
