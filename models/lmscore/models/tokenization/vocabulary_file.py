"""vocab.txt: the tokens of a network, one a line, in the order of their ids."""

from __future__ import annotations

from pathlib import Path

from lmscore.models.errors import ModelFormatError, ModelNotFoundError


def read_model_file(path: Path) -> bytes:
    """The bytes of a file that belongs to a model; raises ModelNotFoundError."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelNotFoundError(f"{path}: {error.strerror}") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a file of UTF-8, without their ends, none of which may be empty.

    Lines end with a line feed or a carriage return and one, and with nothing else. Raises
    ModelNotFoundError, ModelFormatError.
    """
    data = read_model_file(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ModelFormatError(path, f"not UTF-8: {error.reason}", line=line) from None
    if not text:
        raise ModelFormatError(path, "an empty file")
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if "" in lines:
        raise ModelFormatError(path, "an empty line", line=lines.index("") + 1)
    return lines


def ids_of(path: Path, tokens: list[str]) -> dict[str, int]:
    """Ids by token; raises ModelFormatError for a token that is there twice."""
    ids = {token: i for i, token in reversed(list(enumerate(tokens)))}
    if len(ids) < len(tokens):
        second = next(i for i, token in enumerate(tokens) if ids[token] != i)
        first = ids[tokens[second]]
        problem = f'"{tokens[second]}" is already on line {first + 1}'
        raise ModelFormatError(path, problem, line=second + 1)
    return ids
