"""Who may import whom, and what may not be loaded by whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "proto/lmscore/v1": {"v1"},
    "models/lmscore/models": {"models"},
    "server/lmscore/server": {"server", "models", "v1"},
    "client/lmscore/client": {"client", "v1"},
}


def imported_packages(path: Path) -> set[str]:
    """The packages of lmscore that a file imports, at its top or within a function."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("lmscore.")}


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))

    assert files
    for file in files:
        assert imported_packages(file) <= ALLOWED[package], file


def test_there_is_one_namespace_without_an_init_file() -> None:
    assert not list(ROOT.glob("*/lmscore/__init__.py"))
