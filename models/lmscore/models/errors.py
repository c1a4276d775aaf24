"""What can go wrong with a model or a text, told so that the reader knows what to do."""

from pathlib import Path


class ModelError(Exception):
    """Base of everything this package raises on purpose."""


class ModelNotFoundError(ModelError):
    """There is no file at the path given."""


class ModelFormatError(ModelError):
    """A model file is not what it should be; names the file and, where there is one, the line."""

    def __init__(self, path: Path, problem: str, *, line: int | None = None) -> None:
        self.path = path
        self.line = line  # from 1
        self.problem = problem
        place = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{place}: {problem}")


class ModelFormatWarning(UserWarning):
    """A model file departs from its format in a way that could be repaired."""


class CapabilityError(ModelError):
    """The model cannot do what was asked of it, whatever the input."""


class TokenIdError(ModelError):
    """A token id is outside the vocabulary, or names a token that is never an event."""

    def __init__(self, text_index: int, position: int, problem: str) -> None:
        self.text_index = text_index
        self.position = position
        self.problem = problem
        super().__init__(f"token_sequences[{text_index}].ids[{position}]: {problem}")


class CorpusError(ModelError):
    """A text cannot be trained on or measured; names the file and, where there is one, the line."""

    def __init__(self, path: Path, problem: str, *, line: int | None = None) -> None:
        self.path = path
        self.line = line  # from 1
        self.problem = problem
        name = "standard input" if str(path) == "-" else str(path)
        super().__init__(f"{name}: {problem}" if line is None else f"{name}:{line}: {problem}")


class ParameterError(ModelError, ValueError):
    """A setting is out of its range; names the field."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"{field}: {problem}")
