"""What the documentation shows: its blocks of code, and the marks that stand before them.

A mark is an HTML comment, so that readers do not see it. Those right before a block are about it:

    <!-- not run: REASON -->              it cannot run in a test; its syntax is checked
    <!-- needs PROGRAM -->                it runs where there is this program or Python module
    <!-- numbers within 0.01: REASON -->  the numbers that it prints may differ by so much
    <!-- numbers vary: REASON -->         the numbers that it prints are others each time
    <!-- exits with 1: REASON -->         its last command does not exit with 0
    <!-- run first: COMMANDS -->          readers have what these shell commands make already
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHELL = {"sh", "bash", "console"}

_MARK = re.compile(
    r"(not run|needs|numbers within|numbers vary|exits with|run first)\b:?(.*)", re.DOTALL
)
_FENCE = re.compile(r"^(\s*)(`{3,})(.*)$")
_COMMENT = re.compile(r"^\s*<!--(.*?)-->\s*$", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is that of its first line of code."""

    page: Path
    line: int
    language: str
    code: str
    marks: dict[str, str] = field(default_factory=dict)
    output: Block | None = None
    """The text block that follows at once: what this one prints."""

    @property
    def not_run(self) -> bool:
        return "not run" in self.marks

    @property
    def place(self) -> str:
        return place(self.page, self.line)

    @cached_property
    def commands(self) -> list[Command]:
        """The commands of a block for the shell."""
        return list(_typed(self) if self.language == "console" else _written(self))


@dataclass(frozen=True)
class Command:
    """One command; ``shown`` is what the page says that it prints, if it says anything."""

    line: int
    text: str
    shown: str | None = None
    shown_line: int = 0


def place(page: Path, line: int) -> str:
    shown = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
    return f"{shown}:{line}"


def pages() -> list[Path]:
    """README.md and all that is under docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The page's blocks in order, or those in a language; output belongs to what prints it."""
    found: list[Block] = []
    joined = False  # whether nothing but comments and blank lines came since the last block
    for item in _items(page):
        if item is None:
            joined = False
        elif joined and item.language == "text" and _prints(found[-1]):
            before = found[-1]
            found[-1] = Block(
                page, before.line, before.language, before.code, before.marks | item.marks, item
            )
            joined = False
        else:
            found.append(item)
            joined = True
    return [block for block in found if language in {None, block.language}]


def _prints(block: Block) -> bool:
    return block.language in {"sh", "bash", "python"} and block.output is None


def _items(page: Path) -> Iterator[Block | None]:
    """Each block, and None for each line of prose."""
    lines = enumerate(page.read_text().splitlines(), 1)
    marks: dict[str, str] = {}
    for number, line in lines:
        if opening := _FENCE.match(line):
            indent, fence, language = opening.groups()
            code = []
            for _, inner in lines:
                if inner.strip() == fence:
                    break
                code.append(inner.removeprefix(indent))
            yield Block(page, number + 1, language.strip(), "\n".join(code) + "\n", marks)
            marks = {}
        elif line.lstrip().startswith("<!--"):
            comment = line
            while "-->" not in comment:
                comment += "\n" + next(lines)[1]
            marks = marks | _mark(page, number, comment)
        elif line.strip():
            marks = {}
            yield None


def _mark(page: Path, number: int, comment: str) -> dict[str, str]:
    inside = _COMMENT.match(comment)
    mark = _MARK.match(inside[1].strip()) if inside else None
    if mark is None:
        raise ValueError(f"{place(page, number)}: no mark that the tests know: {comment}")
    return {mark[1]: textwrap.dedent(mark[2]).strip()}


def _typed(block: Block) -> Iterator[Command]:
    """Commands after ``$``, each with the output that follows."""
    lines = block.code.splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("$ ")]
    if starts[:1] != [0]:
        raise ValueError(f"{block.place}: a console block begins with '$ '")
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        last = start
        while lines[last].endswith("\\"):
            last += 1
        command = "\n".join(lines[start : last + 1])[2:]
        shown = "\n".join(lines[last + 1 : end]).rstrip()
        yield Command(
            block.line + start, command, f"{shown}\n" if shown else None, block.line + last + 1
        )


_HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")


def _written(block: Block) -> Iterator[Command]:
    """A command a line, but for lines that go on and here-documents."""
    lines = enumerate(block.code.splitlines(), block.line)
    for number, line in lines:
        text = line
        while text.endswith("\\"):
            text += "\n" + next(lines)[1]
        for end in _HERE_DOCUMENT.findall(line):
            while text.rpartition("\n")[2].strip() != end:
                text += "\n" + next(lines)[1]
        if text.strip() and not text.lstrip().startswith("#"):
            yield Command(number, text)
