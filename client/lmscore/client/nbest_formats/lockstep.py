"""Files of lines `key value` that are read side by side."""

from __future__ import annotations

from collections.abc import Iterator

from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import finite, key_and_value
from lmscore.client.textfile import FileError, Line


class KeyedFile:
    """A file of lines `key value`, with its next line in view."""

    def __init__(self, source: Source, path: str) -> None:
        self.path = path
        self.key: str | None = None  # of the next line; absent at the end
        self._value = ""
        self._line = Line(0, "")  # until there is one
        self._lines: Iterator[Line] = iter(source.reader(path))
        self._advance()

    @property
    def line_number(self) -> int:
        """Where the next line stands."""
        return self._line.number

    def take(self, key: str) -> str:
        """The value of the next line, which has to be the key's."""
        if self.key != key:
            found = f"found {self.key}" if self.key is not None else "the file ends"
            problem = f"expected a line for {key}, as in the file beside it, but {found}"
            raise FileError(self.path, problem, line=self._line.number or None)
        value = self._value
        self._advance()
        return value

    def take_number(self, key: str) -> float:
        """The same for a number, which may be wrapped as `tensor(-1.5)`."""
        number = self._line.number
        text = self.take(key).strip()
        if text.startswith("tensor("):
            text = text.removeprefix("tensor(").split(",")[0].rstrip(")")
        try:
            return finite(text, f"the value of {key}")
        except ValueError as error:
            raise FileError(self.path, str(error), line=number) from error

    def end(self) -> None:
        """FileError unless every line was taken."""
        if self.key is not None:
            problem = f"{self.key} is not in the file beside it, or in another place there"
            raise FileError(self.path, problem, line=self._line.number)

    def _advance(self) -> None:
        for line in self._lines:
            if line.text.strip(" \t"):
                self._line = line
                self.key, self._value = key_and_value(self.path, line)
                return
        self.key = None
