"""Vocabularies as other programs keep them: the tokens in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmscore.models.compression import open_model_file
from lmscore.models.errors import CorpusError, ModelFormatError
from lmscore.models.network.importers.token_list import has_token_list, read_token_list

Style = Literal["list", "words with ids", "fairseq dictionary", "ESPnet configuration", "corpus"]

_FAIRSEQ_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
_FAIRSEQ_MULTIPLE = 8  # to which dictionaries are padded
_CORPUS_FILES = ("train.txt", "valid.txt", "test.txt")
_CORPUS_END = "<eos>"


@dataclass(frozen=True, slots=True)
class WordList:
    """Tokens by id, and how they were written."""

    style: Style
    tokens: list[str]


def read_word_list(path: Path, rows: int) -> WordList:
    """The tokens in a file, whose style is told by what is in it, for an embedding of so many rows.

    Raises ModelNotFoundError, and ModelFormatError with the line.
    """
    text = _text(path)
    if has_token_list(text):
        return WordList("ESPnet configuration", read_token_list(path, text))
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if "" in lines:
        raise ModelFormatError(path, "an empty line", line=lines.index("") + 1)
    numbers = _numbers(lines)
    if numbers is None:
        words = WordList("list", lines)
    elif sorted(numbers) == list(range(len(numbers))):
        words = WordList("words with ids", _by_id(path, lines, numbers))
    else:
        words = WordList("fairseq dictionary", _fairseq(lines, rows))
    _check_distinct(path, words)
    return words


def _text(path: Path) -> str:
    with open_model_file(path) as file:
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ModelFormatError(path, f"not UTF-8: {error.reason}", line=line) from None


def _numbers(lines: Sequence[str]) -> list[int] | None:
    """The number after each word, or None if not every line is a word and a number."""
    numbers = []
    for line in lines:
        _, *rest = line.split()
        if not (rest and rest[0].isdecimal() and rest[1:] in ([], ["#fairseq:overwrite"])):
            return None
        numbers.append(int(rest[0]))
    return numbers


def _by_id(path: Path, lines: Sequence[str], ids: Sequence[int]) -> list[str]:
    """The words, whose ids must be in order: Kaldi's own networks count lines and read no id."""
    for number, token_id in enumerate(ids):
        if token_id != number:
            problem = f"id {token_id} where {number} comes next: sort the lines by their ids"
            raise ModelFormatError(path, problem, line=number + 1)
    return [line.split()[0] for line in lines]


def _fairseq(lines: Sequence[str], rows: int) -> list[str]:
    words = [line.split()[0] for line in lines]
    tokens = [*_FAIRSEQ_SPECIALS, *(word for word in words if word not in _FAIRSEQ_SPECIALS)]
    if 0 < rows - len(tokens) < _FAIRSEQ_MULTIPLE and rows % _FAIRSEQ_MULTIPLE == 0:
        tokens += [f"madeupword{i:04d}" for i in range(rows - len(tokens))]
    return tokens


def _check_distinct(path: Path, words: WordList) -> None:
    offset = len(_FAIRSEQ_SPECIALS) if words.style == "fairseq dictionary" else 0
    ids: dict[str, int] = {}
    for token_id, token in enumerate(words.tokens):
        if (first := ids.setdefault(token, token_id)) != token_id:
            problem = f'"{token}" is already on line {first + 1 - offset}'
            raise ModelFormatError(path, problem, line=token_id + 1 - offset)


def corpus_words(paths: Sequence[Path]) -> WordList:
    """Words by their first appearance in files, ``<eos>`` standing after each line.

    So count PyTorch's word_language_model and AWD-LSTM; a folder stands for its train.txt,
    valid.txt and test.txt. Raises CorpusError.
    """
    files = [file for path in paths for file in _corpus_files(path)]
    words = dict.fromkeys(word for file in files for word in _words(file))
    return WordList("corpus", list(words))


def _corpus_files(path: Path) -> list[Path]:
    return [path / name for name in _CORPUS_FILES] if path.is_dir() else [path]


def _words(path: Path) -> Iterator[str]:
    """Words and ends of lines as Python's own text files and str.split see them, as there."""
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield from line.split()
                yield _CORPUS_END
    except UnicodeDecodeError as error:
        raise CorpusError(path, f"not UTF-8: {error.reason}") from None
    except OSError as error:
        raise CorpusError(path, error.strerror or "cannot be read") from None
