"""Code of the documentation, as programs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs/clients"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    """The page's pieces of code in a language."""
    found = _BLOCK.findall((DOCS / page).read_text())
    return [code for kind, code in found if kind == language]


def program(page: str, language: str, address: str, *, only: slice = slice(None)) -> str:
    """All of them, or some, as one program that calls the server at the address."""
    return "\n".join(blocks(page, language)[only]).replace("127.0.0.1:50051", address)
