"""The wheel and the sdist, built as a release builds them, but from what is installed."""

from __future__ import annotations

import subprocess
import sys
from email import message_from_bytes
from email.message import Message
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
BUILDERS = ("hatchling", "hatch_vcs")


def built(source: Path, output: Path, *kinds: str) -> list[Path]:
    """What hatchling makes of a folder of sources, without a network."""
    absent = [name for name in BUILDERS if find_spec(name) is None]
    if absent:
        pytest.skip(f"{' and '.join(absent)} is not installed; the extra dev has it")
    targets = [argument for kind in kinds for argument in ("-t", kind)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(output), *targets]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return sorted(output.iterdir())


def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))
