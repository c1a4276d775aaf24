"""What of a configuration has no effect, though somebody meant it to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from lmscore.server.settings import Settings

_CLOSE = 0.8  # of 1: a letter or two of a name
_CLIENTS = {"address", "api_key"}  # set where servers are asked


def doubts(settings: Settings, variables: Iterable[str], prefix: str) -> Iterator[str]:
    """Problems for people; none of them keeps the server from starting."""
    if settings.admin and not settings.repository:
        yield "admin: without a repository there is nothing to load or label: set repository too"
    for variable in variables:
        name = variable.removeprefix(prefix).lower()
        if not variable.startswith(prefix) or name in Settings.model_fields or name in _CLIENTS:
            continue  # a platform may have variables of its own, such as LMSCORE_SERVICE_HOST
        if meant := closest_setting(name):
            yield f"{variable}: there is no such setting; did you mean {prefix}{meant.upper()}?"


def closest_setting(name: str) -> str | None:
    """The setting that a misspelt name probably means."""
    return next(iter(get_close_matches(name, Settings.model_fields, 1, _CLOSE)), None)
