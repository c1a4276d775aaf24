"""Pieces of Markdown that all pages are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]*`)")


def generated_by(sources: str) -> str:
    """What stands below a page's title, so that nobody edits it."""
    return f"*Made by `make reference` from {sources}; what is changed here is lost.*"


def prose(text: str) -> str:
    """Text in one line, in which nothing outside backticks is taken for markup."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    return re.sub(r"([<*\\\[\]])", r"\\\1", text)


def first_sentence(text: str) -> str:
    """What stands for a longer text in a list."""
    return prose(" ".join(text.split()).partition(". ")[0].rstrip(".") + ".")


def code(text: str) -> str:
    """Text as it is typed."""
    return f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown, in which a bar needs no care."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("|" + "|".join(_cell(text) for text in line) + "|" for line in lines)


def _cell(text: str) -> str:
    if text == "---":
        return text
    return f" {text.replace('|', chr(92) + '|')} " if text else " "


def listing(text: str) -> str:
    """Lines that keep their shape, as a block that is no program."""
    return f"```text\n{text}\n```"


def page(parts: Iterable[str]) -> str:
    """The parts with blank lines between them; empty ones are left out."""
    return "\n\n".join(part for part in parts if part) + "\n"


class UndescribedError(Exception):
    """Something that a page lists has no description; the message names all of it."""

    def __init__(self, where: str, names: Sequence[str]) -> None:
        super().__init__(f"{where}: no description of {', '.join(names)}")
        self.names = names


def require_descriptions(where: str, descriptions: Iterable[tuple[str, str]]) -> None:
    """Raise UndescribedError unless everything has one, told as name and description."""
    if names := [name for name, description in descriptions if not description.strip()]:
        raise UndescribedError(where, names)
