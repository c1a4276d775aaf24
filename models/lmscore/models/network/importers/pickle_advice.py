"""What to do about a file whose objects only their own code could load."""

from __future__ import annotations

import itertools
import pickletools
import zipfile
from pathlib import Path

_MAGIC = 0x1950A86A20F9469CFC6C  # the first object of what torch.save wrote before version 1.6
_HEADER_OBJECTS = 3  # that number, a version and the machine's sizes

_WEIGHTS = {"]": "saved[0].state_dict()", "}": 'saved["model"]'}
"""Where the weights are, by the opcode that begins the object."""


def refusal(path: Path, unknown: str | None) -> str:
    """Why a file is not loaded, and how its weights can be saved; unknown is a class in it."""
    example = f", such as {unknown}" if unknown else ""
    weights = _WEIGHTS.get(_first_opcode(path), "saved.state_dict()")
    return (
        f"holds Python objects{example}, which are never loaded here, as loading them runs code "
        "of the file's choice. If you trust it, save its weights alone where its own code can be "
        f"imported: saved = torch.load({path.name!r}, map_location='cpu', weights_only=False); "
        f"torch.save({weights}, {path.stem + '.weights.pt'!r})"
    )


def _first_opcode(path: Path) -> str:
    """The opcode with which the object in a file begins; nothing is executed."""
    try:
        data = _pickled(path)
        if next(_operations(data)) == _MAGIC:
            for _ in range(_HEADER_OBJECTS):
                data = data[_length(data) :]
        return next(
            operation.code
            for operation, _, _ in pickletools.genops(data)
            if operation.name not in {"PROTO", "FRAME"}
        )
    except (ValueError, StopIteration, IndexError, OSError, zipfile.BadZipFile):
        return ""


def _operations(data: bytes) -> itertools.chain[object]:
    values = (arg for op, arg, _ in pickletools.genops(data) if op.name not in {"PROTO", "FRAME"})
    return itertools.chain(values)


def _length(data: bytes) -> int:
    return next(
        (at or 0) + 1 for operation, _, at in pickletools.genops(data) if operation.name == "STOP"
    )


def _pickled(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return file.read(1 << 16)
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return archive.read(name)
