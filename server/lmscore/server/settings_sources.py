"""Where settings come from, and how they are shown.

A command-line flag beats an environment variable (``LMSCORE_`` and the name in capitals), which
beats the TOML file, which beats the default.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lmscore.server.doubts import closest_setting
from lmscore.server.settings import Settings

ENVIRONMENT_PREFIX = "LMSCORE_"


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names the setting and where it came from."""


def settings_to_json(settings: Settings) -> str:
    """The settings as another process of the same server reads them."""
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    return json.dumps(values, default=str)


def settings_from_json(text: str) -> Settings:
    """What settings_to_json was given."""
    return Settings(**json.loads(text))


def load_settings(
    flags: dict[str, Any], config_file: Path | None = None
) -> tuple[Settings, dict[str, str]]:
    """Merge the sources; also tells where each setting came from, by name.

    Raises ConfigurationError for values that cannot be used and unknown names in the file.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    for layer, origin in (
        (_from_file(config_file), f"file {config_file}"),
        (_from_environment(), "environment"),
        (flags, "flag"),
    ):
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    try:
        return Settings(**values), origins
    except ValidationError as error:
        raise ConfigurationError(_describe(error, origins)) from None


def format_settings(settings: Settings, origins: dict[str, str]) -> str:
    """The settings as a TOML file that would give them again, with where each came from."""
    return "\n".join(
        f"# {name} is not set  # {origins[name]}"  # TOML has no value for that
        if value is None
        else f"{name} = {_toml_value(value)}  # {origins[name]}"
        for name, value in ((name, getattr(settings, name)) for name in Settings.model_fields)
    )


def _toml_value(value: object) -> str:
    if isinstance(value, tuple):
        return json.dumps([str(item) for item in value], ensure_ascii=False)
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value, ensure_ascii=False)


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _from_environment() -> dict[str, str]:
    names = {name: f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in Settings.model_fields}
    return {name: os.environ[key] for name, key in names.items() if key in os.environ}


def _describe(error: ValidationError, origins: dict[str, str]) -> str:
    problems = []
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        if not problem["loc"]:
            problems.append(message)
            continue
        name = str(problem["loc"][0])
        if problem["type"] == "extra_forbidden":
            meant = closest_setting(name)
            message = "there is no such setting" + (f"; did you mean {meant}?" if meant else "")
        problems.append(f"{name}: {message} (from {origins.get(name, 'the caller')})")
    return "; ".join(problems)
