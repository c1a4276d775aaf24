"""Putting what commands print into the pages that show them."""

from __future__ import annotations

from pathlib import Path

from tests.docs.compare import ANYTHING
from tests.docs.markdown import blocks


def write(page: Path, printed: dict[int, str]) -> None:
    """Replace what the page shows, by line; where it leaves something out, it stays as it is."""
    shown = {}
    for block in blocks(page):
        if block.output:
            shown[block.output.line] = block.output.code
        if block.language == "console":
            shown |= {each.shown_line: each.shown for each in block.commands if each.shown}
    lines = page.read_text().splitlines()
    for line, output in sorted(printed.items(), reverse=True):
        if f"{ANYTHING}\n" not in shown[line]:
            old = len(shown[line].rstrip("\n").splitlines())
            lines[line - 1 : line - 1 + old] = [
                each.rstrip() for each in output.strip("\n").splitlines()
            ]
    page.write_text("\n".join(lines) + "\n")
