"""The files that a run leaves beside its model, each replaced as a whole or not at all."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from lmscore.models.errors import ModelError, ModelFormatError

RUN_FOLDER = "training"
SETTINGS_FILE = "settings.toml"
HELD_OUT_FILE = "held-out.txt"
SNAPSHOT_FILE = "snapshot.pt"
LOG_FILE = "log.csv"
PLOT_FILE = "perplexity.png"

_VERSION = 1


class TrainingError(ModelError):
    """A run cannot go on; says what is kept, and what to do."""


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that is there whole, or as before; it outlasts a power failure."""
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()  # where a disk is full, what is half written takes room
        raise TrainingError(f"{path}: cannot be written: {error.strerror}") from None


def save_snapshot(path: Path, values: dict[str, Any]) -> None:
    """Write plain values and tensors for load_snapshot."""
    buffer = io.BytesIO()
    torch.save({"version": _VERSION} | values, buffer)
    replace_file(path, buffer.getvalue())


def load_snapshot(path: Path, device: torch.device) -> dict[str, Any]:
    """What was saved, which never runs any code; raises ModelFormatError."""
    try:
        values = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # noqa: BLE001 torch raises what it likes
        lines = str(error).splitlines() or [type(error).__name__]
        raise ModelFormatError(path, f"not a snapshot of a run: {lines[0]}") from None
    if not isinstance(values, dict) or values.pop("version", None) != _VERSION:
        raise ModelFormatError(path, f"not a snapshot of version {_VERSION}")
    return values
