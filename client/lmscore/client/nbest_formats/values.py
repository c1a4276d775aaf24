"""What every format needs: numbers that are finite, words that fit, the errors that say so."""

from __future__ import annotations

import math
import re

from lmscore.client.textfile import FileError, Line

SCORE = "score"
"""The feature of formats that give a hypothesis one score, and of totals; higher is better."""
ACOUSTIC, LM = "acoustic", "lm"
"""The features of formats that keep the recognizer's two scores apart."""

_BLANKS = " \t\n\r\0"
_WORD = re.compile(f"[^{_BLANKS}]+")
_KEY_AND_VALUE = re.compile(r"([^ \t]+)(?:[ \t](.*))?", re.DOTALL)


class UnknownFormatError(FileError):
    """A file is in none of the known formats, or may be in several; says what would settle it."""


class UnwritableError(ValueError):
    """A list has what the format has no way to write."""


def finite(text: str, place: str = "the score") -> float:
    """A finite number; ValueError names the place otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{place}: {text!r} is not a finite number")
    return value


def checked(number: float, place: str) -> float:
    """The number; ValueError for NaN, an infinity, or an integer too large for a float."""
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{place}: {value} is not a finite number")
    return value


def is_number(text: str) -> bool:
    """Whether Python reads it as a number, finite or not."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def words(text: str) -> list[str]:
    """The words of a text: what stands between blanks, as the server counts them."""
    return _WORD.findall(text)


def key_and_value(path: str, line: Line) -> tuple[str, str]:
    """The two parts of a line `key value`; the value may be empty."""
    found = _KEY_AND_VALUE.fullmatch(line.text)
    if found is None:
        raise FileError(path, "expected a key, a blank and a value", line=line.number)
    return found[1], found[2] or ""


def one_line(text: str) -> str:
    """The text as a field of a line can hold it: line ends and tabs are blanks there."""
    return text.translate({ord(each): " " for each in "\t\n\r"})


def word(text: str, what: str) -> str:
    """The text, if it is one word; UnwritableError otherwise."""
    if _WORD.fullmatch(text) is None:
        raise UnwritableError(f"{what} {text!r} is not one word, as this format has it")
    return text


def line_text(text: str, what: str) -> str:
    """The text, if it has no line ends; UnwritableError otherwise."""
    if "\n" in text or "\r" in text:
        raise UnwritableError(f"{what} {text!r} has a line end, which this format cannot hold")
    return text
