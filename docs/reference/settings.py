"""The page of the server's settings, from the class that validates them."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from docs.reference.markdown import code, generated_by, page, prose, require_descriptions, table
from pydantic.fields import FieldInfo

from lmscore.server.settings import Settings
from lmscore.server.settings_sources import ENVIRONMENT_PREFIX, format_settings

_INTRODUCTION = f"""\
Every setting of `lmscore-server` is a flag, an environment variable ({ENVIRONMENT_PREFIX} and its
name in capitals) and a key of the `--config` file, which is TOML. A flag beats the environment,
which beats the file, which beats the default. `lmscore-server --print-config` shows all of them,
and where each came from, as such a file.

Which of them matter, and when, is in [operations.md](../operations.md); keys and encryption are in
[security.md](../security.md)."""

# What depends on the machine, and cannot stand in a page as a number.
_COMPUTED_DEFAULTS = {"threads": "the machine's cores, divided by `processes`"}
_SIGNS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}


def build() -> str:
    """The whole page."""
    fields = Settings.model_fields
    require_descriptions("settings", ((name, of.description or "") for name, of in fields.items()))
    rows = [_row(name, field) for name, field in fields.items()]
    return page(
        [
            "# Settings of the server",
            generated_by("`server/lmscore/server/settings.py`"),
            _INTRODUCTION,
            table(["setting", "flag and variable", "value", "default", "meaning"], rows),
            "## A configuration file",
            "All settings at their defaults (`threads` as on a machine of two cores):",
            f"```toml\n{_configuration_file()}\n```",
        ]
    )


def _row(name: str, field: FieldInfo) -> list[str]:
    flag, variable = f"--{name.replace('_', '-')}", f"{ENVIRONMENT_PREFIX}{name.upper()}"
    names = f"{code(flag)} {code(variable)}"
    description = prose(field.description or "")
    return [code(name), names, _values(field), _default(name, field), description]


def _default(name: str, field: FieldInfo) -> str:
    if name in _COMPUTED_DEFAULTS:
        return _COMPUTED_DEFAULTS[name]
    return "" if field.default in {(), "", None} else code(str(field.default))


def _values(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {_plain(getattr(limit, kind.__name__.lower()))}"
        for limit in field.metadata
        for kind, sign in _SIGNS.items()
        if isinstance(limit, kind)
    ]
    return ", ".join([_type(field.annotation), *bounds])


def _plain(number: object) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def _type(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(code(str(value)) for value in get_args(annotation))
    if get_origin(annotation) in {Union, UnionType}:
        return _type(next(of for of in get_args(annotation) if of is not type(None)))
    if get_origin(annotation) is tuple:
        return "list of text"
    return {int: "integer", float: "number", str: "text", Path: "path"}[annotation]  # type: ignore[index]


def _configuration_file() -> str:
    settings = Settings(threads=2)
    lines = format_settings(settings, dict.fromkeys(Settings.model_fields, "")).splitlines()
    return "\n".join(line.rstrip(" #") for line in lines)
