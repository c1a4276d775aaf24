"""Running the command, in this process or in one of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from tests.client.fake_server import FakeServer

COMMAND = [sys.executable, "-m", "lmscore.client.cli.launcher"]
Lmscore: TypeAlias = Callable[..., tuple[int, str, str]]
"""Runs the command against a server; gives its exit code, output and notes."""


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]


def environment(server: FakeServer) -> dict[str, str]:
    return {**os.environ, "LMSCORE_ADDRESS": server.address}
