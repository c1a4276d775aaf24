"""The token_list in ESPnet2's config.yaml, as PyYAML writes it."""

from __future__ import annotations

import re
from pathlib import Path

from lmscore.models.errors import ModelFormatError

_KEY = re.compile(r"token_list:(?P<rest>.*)")
_ITEM = re.compile(r"\s*- (?P<scalar>.*)")
_SINGLE = re.compile(r"'(?P<text>(?:[^']|'')*)'")
_DOUBLE = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"')
_NOT_PLAIN = re.compile(r"[\[\]{}&*!|>%@`,#]|[-?:]( |$)|.*: |.* #")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r",
    "e": "\x1b", " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0",
    "L": "\u2028", "P": "\u2029",
}  # fmt: skip
"""Of YAML 1.2, section 5.7."""


def has_token_list(text: str) -> bool:
    """Whether a text is a configuration with a list of tokens."""
    return any(_KEY.match(line) for line in text.split("\n"))


def read_token_list(path: Path, text: str) -> list[str]:
    """The items of token_list, one a line; raises ModelFormatError for what is not so written."""
    lines = text.split("\n")
    start = next(number for number, line in enumerate(lines) if _KEY.match(line))
    if rest := lines[start].partition(":")[2].strip():
        problem = f"token_list is {rest}: if that is a file, give it as the vocabulary"
        raise ModelFormatError(path, problem, line=start + 1)
    tokens = []
    for number, line in enumerate(lines[start + 1 :], start + 2):
        match = _ITEM.fullmatch(line.removesuffix("\r"))
        if match is None:
            if line.startswith((" ", "-")):
                raise _unclear(path, line, number)
            break
        token = _scalar(match["scalar"])
        if token is None:
            raise _unclear(path, line, number)
        tokens.append(token)
    return tokens


def _scalar(written: str) -> str | None:
    """The string that a scalar stands for; None for what is not one in one line."""
    if written.startswith("'"):
        match = _SINGLE.fullmatch(written)
        return match and match["text"].replace("''", "'")
    if written.startswith('"'):
        match = _DOUBLE.fullmatch(written)
        return match and _ESCAPE.sub(_unescaped, match["text"])
    return None if not written or _NOT_PLAIN.match(written) else written


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xuU" and len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, match[0])


def _unclear(path: Path, line: str, number: int) -> ModelFormatError:
    problem = (
        f'token_list: "{line.strip()}" is not one token; write the tokens to a file, one a line in '
        "the order of their ids, and give that as the vocabulary"
    )
    return ModelFormatError(path, problem, line=number)
