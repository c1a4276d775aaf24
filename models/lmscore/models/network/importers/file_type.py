"""Whether a file holds a network of another program, told by its first bytes; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lmscore.models.compression import open_model_file
from lmscore.models.errors import ModelFormatError

NetworkFileType = Literal["zip", "pickle", "safetensors"]

_ENDINGS = {".pt", ".pth", ".ckpt", ".safetensors"}
_PROTOCOLS = range(2, 6)  # of pickles; torch.save writes 2


def network_file_type(path: Path) -> NetworkFileType | None:
    """What torch.save or safetensors made of a file, or None if neither wrote it."""
    with open_model_file(path) as file:
        head = file.read(16)
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if len(head) > 1 and head[0] == 0x80 and head[1] in _PROTOCOLS:
        return "pickle"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    return None


def is_network_file(path: Path) -> bool:
    """Whether a file is to be read as a network.

    Raises ModelFormatError for one that is named as a network is, and has other bytes.
    """
    if network_file_type(path) is not None:
        return True
    if path.suffix in _ENDINGS:
        with open_model_file(path) as file:
            head = file.read(8)
        start = f"begins with {head!r}" if head else "is empty"
        raise ModelFormatError(path, f"neither a file of torch.save nor of safetensors: it {start}")
    return False
