"""A model to load, as the settings name it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_path(path: Path) -> Path:
    """The path; ValueError for one that no file can have."""
    if "\0" in str(path):
        raise ValueError(f"{str(path)!r} is not a path")
    return path


def _check_name(name: str) -> str:
    if not MODEL_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a model name (letters, digits, '.', '_' and '-')")
    return name


class ModelSource(BaseModel):
    """A model to load and the name to serve it under."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, AfterValidator(_check_name)]
    path: Annotated[Path, AfterValidator(check_path)]

    def __str__(self) -> str:
        return f"{self.name}={self.path}"


def parse_models(value: object) -> object:
    """Accept NAME=PATH[,NAME=PATH…], or a list of them."""
    if isinstance(value, str):
        value = [part for part in value.split(",") if part]
    if not isinstance(value, list | tuple):
        return value
    return tuple(_parse_model(item) if isinstance(item, str) else item for item in value)


def check_models(sources: tuple[ModelSource, ...]) -> tuple[ModelSource, ...]:
    """The models; ValueError if two have the same name."""
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two models are named {name}")
    return sources


def _parse_model(text: str) -> ModelSource:
    name, separator, path = text.partition("=")
    if not separator or not path:
        raise ValueError(f"{text!r} is not NAME=PATH")
    return ModelSource(name=_check_name(name), path=check_path(Path(path)))
