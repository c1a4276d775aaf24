"""Weights of a combination as a TOML file, which `lmscore tune` writes and a person can edit."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmscore.client.combination import CombinationWeights
from lmscore.client.textfile import FileError

_SECTIONS = ("models", "features", "other", "oov_penalties")
_OTHER = ("length_bonus", "oov_penalty")


def read_weights(path: str | Path) -> CombinationWeights:
    """The weights of a file; FileError names what is wrong with it."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        return _weights(content)
    except tomllib.TOMLDecodeError as error:
        raise FileError(str(path), f"not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise FileError(str(path), f"not UTF-8 at offset {error.start}") from error
    except ValueError as error:
        raise FileError(str(path), str(error)) from error


def write_weights(path: str | Path, weights: CombinationWeights) -> None:
    """Write a file that reads as the same weights."""
    other = {"length_bonus": weights.length_bonus, "oov_penalty": weights.oov_penalty}
    sections = (weights.models, weights.features, other, weights.oov_penalties)
    text = "\n".join(
        _section(name, values)
        for name, values in zip(_SECTIONS, sections, strict=True)
        if values or name != _SECTIONS[-1]
    )
    Path(path).write_text(text, encoding="utf-8")


def _weights(content: Mapping[str, Any]) -> CombinationWeights:
    for name in content:
        if name not in _SECTIONS:
            raise ValueError(f"there is no section [{name}]; there are {', '.join(_SECTIONS)}")
    models, features, other, penalties = (
        _numbers(name, content.get(name, {})) for name in _SECTIONS
    )
    for name in other:
        if name not in _OTHER:
            raise ValueError(f"[other] has no {name}; it has {' and '.join(_OTHER)}")
    return CombinationWeights(models, features, **other, oov_penalties=penalties)


def _numbers(section: str, entries: Any) -> dict[str, float]:
    if not isinstance(entries, dict):
        raise ValueError(f"[{section}] must be a section of names and numbers")
    for name, value in entries.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ValueError(f"[{section}] {name} must be a finite number")
    return {name: float(value) for name, value in entries.items()}


def _section(name: str, values: Mapping[str, float]) -> str:
    lines = (f"{_key(key)} = {value!r}\n" for key, value in values.items())
    return f"[{name}]\n{''.join(lines)}"


def _key(name: str) -> str:
    """A quoted key; JSON escapes what TOML does, but for DEL, which TOML has no bare form of."""
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
