"""Training settings as TOML: files, presets and flags over each other, checked key by key."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lmscore.models.errors import ModelError
from lmscore.models.network.training.settings import TrainingSettings

_PRESETS = "lmscore.models.network.training"


class SettingsError(ModelError):
    """A setting cannot be; names where it was made, and the key."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}")


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place, which lie over those of the layers before."""

    source: str  # "my.toml", "preset char-small", "command line"
    values: Mapping[str, Mapping[str, Any]]  # by section and key
    folder: Path = Path()  # that paths start from


def preset_names() -> list[str]:
    """What --preset takes."""
    folder = resources.files(_PRESETS) / "presets"
    names = (Path(file.name) for file in folder.iterdir())
    return sorted(name.stem for name in names if name.suffix == ".toml")


def preset(name: str) -> Layer:
    """The settings of a preset."""
    file = resources.files(_PRESETS) / "presets" / f"{name}.toml"
    return Layer(f"preset {name}", _parsed(f"preset {name}", file.read_text()))


def settings_file(path: Path) -> Layer:
    """The settings of a file; raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(str(path), error.strerror or "cannot be read") from None
    except UnicodeDecodeError as error:
        raise SettingsError(str(path), f"not UTF-8: {error.reason}") from None
    return Layer(str(path), _parsed(str(path), text), path.absolute().parent)


def combined(layers: list[Layer]) -> TrainingSettings:
    """The settings of layers, the last of which wins; raises SettingsError naming the culprit."""
    hints = get_type_hints(TrainingSettings)
    values: dict[str, dict[str, Any]] = {section: {} for section in hints}
    sources: dict[str, str] = {}
    for layer in layers:
        for section, entries in layer.values.items():
            if section not in hints:
                known = ", ".join(hints)
                raise SettingsError(layer.source, f"[{section}] is none of the sections {known}")
            for key, value in entries.items():
                values[section][key] = _read(layer, hints[section], section, key, value)
                sources[f"{section}.{key}"] = sources[section] = layer.source
    try:
        return TrainingSettings(**{name: hints[name](**values[name]) for name in hints})
    except ValueError as error:
        name = str(error).partition(":")[0]
        section = name.partition(".")[0]
        source = sources.get(name) or sources.get(section) or "settings"
        raise SettingsError(source, str(error)) from None


def as_toml(settings: TrainingSettings) -> str:
    """The settings as a file says them; what is None by default and still is, is left out."""
    lines: list[str] = []
    for section in fields(settings):
        values = getattr(settings, section.name)
        lines.append(f"[{section.name}]")
        for key in fields(values):
            value = getattr(values, key.name)
            if value is not None or key.default is not None:
                lines.append(f"{key.name} = {_toml(value)}")
        lines.append("")
    return "\n".join(lines)


def _parsed(source: str, text: str) -> dict[str, dict[str, Any]]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(source, f"not TOML: {error}") from None
    for section, entries in values.items():
        if not isinstance(entries, dict):
            raise SettingsError(source, f"{section} stands outside of the sections")
    return values


def _read(layer: Layer, kind: type, section: str, key: str, value: object) -> object:
    """A value of a file as what the section's field holds."""
    if not is_dataclass(kind):
        raise TypeError(kind)
    hints = get_type_hints(kind)
    name = f"{section}.{key}"
    if key not in hints:
        known = ", ".join(hints)
        raise SettingsError(layer.source, f"{name} is no setting; [{section}] has {known}")
    try:
        return _converted(hints[key], value, layer.folder)
    except TypeError as error:
        raise SettingsError(layer.source, f"{name}: {value!r} is not {error}") from None


def _converted(hint: Any, value: object, folder: Path) -> object:
    """A value as a type has it; TypeError says what it should have been."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise TypeError("one of " + ", ".join(arguments))
        return value
    if origin in {Union, UnionType}:  # with None, which TOML has no word for but "none"
        if value is None or value == "none":
            return None
        return _converted(next(a for a in arguments if a is not type(None)), value, folder)
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_converted(arguments[0], item, folder) for item in items)
    return _SCALARS[hint](value, folder)


def _scalar(kind: type | UnionType, description: str, value: object, _: Path) -> object:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(description)
    return value


def _path(value: object, folder: Path) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise TypeError("the name of a file")
    return folder / Path(value).expanduser()


_SCALARS: dict[Any, Callable[[object, Path], object]] = {
    bool: partial(_scalar, bool, "true or false"),
    int: partial(_scalar, int, "a whole number"),
    float: partial(_scalar, int | float, "a number"),
    str: partial(_scalar, str, "text"),
    Path: _path,
}


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if value is None:
        return '"none"'
    if isinstance(value, Path | str):
        return json.dumps(str(value), ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else repr(value)
