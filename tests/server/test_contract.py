"""The committed code of the contract is what the .proto files generate."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = sorted((ROOT / "proto/lmscore/v1").glob("*_pb2*"))


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    binaries = Path(sys.executable).parent
    environment = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL"}}
    subprocess.run(
        ["make", "proto", f"PROTO_OUT={tmp_path}", f"BIN={binaries}"],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
    )
    fresh = sorted(tmp_path.rglob("*_pb2*"))

    assert [file.name for file in fresh] == [file.name for file in GENERATED]
    for new, committed in zip(fresh, GENERATED, strict=True):
        assert new.read_text() == committed.read_text(), f"{committed}: run `make proto`"
