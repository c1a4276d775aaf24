"""What lmscore is measured beside: where it is, or how to get it."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

KENLM_ABSENT = "kenlm is not installed here: `make peers` (it needs a C++ compiler)"
ONNX_ABSENT = "not installed here: `pip install 'lmscore[bench]'`"


def module(name: str) -> Any | None:
    """A package that may be absent."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def program(name: str) -> Path | None:
    """A program of KenLM's, from the folder KENLM_BIN or the path."""
    folder = os.environ.get("KENLM_BIN")
    found = shutil.which(name, path=folder) if folder else None
    found = found or shutil.which(name)
    return Path(found) if found else None


def program_absent(name: str) -> str:
    return (
        f"{name} is not installed here: build KenLM (github.com/kpu/kenlm) with CMake "
        "and set KENLM_BIN to the folder of its programs"
    )
