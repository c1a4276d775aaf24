"""What lies in a repository: NAME/VERSION/ with a model's files, and NAME/serving.json."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from lmscore.models.loading import CONFIG_FILE
from lmscore.server.model_source import MODEL_NAME
from lmscore.server.rollout.serving import SERVING_FILE, Serving, ServingError, read_serving

PROBE_FILE = "probe.json"

_PLACE = "a model's files lie in NAME/VERSION/, such as news/1/"
_VERSION = re.compile(r"[1-9][0-9]{0,17}")

Stamp: TypeAlias = tuple[str, int, int, int]
"""Name, size, time of the last change in nanoseconds, and inode of a file."""


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """A version's folder as it was seen; equal to another one if nothing changed in between."""

    folder: Path
    path: Path  # what to load: the folder of a network, or a file in it
    files: tuple[Stamp, ...]
    problem: str = ""  # why it holds no model; empty if it may


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model's folder as it was seen."""

    versions: Mapping[int, FoundVersion]
    serving: Serving | None  # None if its file cannot be used


@dataclass(slots=True)
class Found:
    """A whole repository as it was seen."""

    models: dict[str, FoundModel] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)  # models whose folders cannot be listed
    problems: list[str] = field(default_factory=list)  # of what is not where it belongs


def scan(root: Path) -> Found:
    """See what is there; names that begin with a dot are for whoever puts files in place.

    Raises OSError if the repository cannot be read.
    """
    found = Found()
    for folder in _folders(root):
        if not MODEL_NAME.fullmatch(folder.name):
            found.problems.append(f"{folder.name}: not a model name")
            continue
        try:
            found.models[folder.name] = _scan_model(folder, found.problems)
        except OSError as error:
            found.unreadable.add(folder.name)
            found.problems.append(f"{folder.name}: {error.strerror}")
    if not found.models and any(path.is_file() for path in _entries(root)):
        found.problems.append("files, but no model: " + _PLACE)
    return found


def _scan_model(folder: Path, problems: list[str]) -> FoundModel:
    versions = {}
    for each in _folders(folder):
        if _VERSION.fullmatch(each.name):
            versions[int(each.name)] = look(each)
        else:
            problems.append(f"{folder.name}/{each.name}: not a version, which is a number from 1")
    if not versions and any(each.name != SERVING_FILE for each in _entries(folder)):
        problems.append(f"{folder.name}: no version in it: {_PLACE}")
    try:
        serving: Serving | None = read_serving(folder / SERVING_FILE)
    except ServingError as error:
        serving = None
        problems.append(f"{folder.name}/{error}")
    return FoundModel(versions, serving)


def look(folder: Path) -> FoundVersion:
    """See what is in a version's folder."""
    try:
        files = [_stamp(path) for path in sorted(_entries(folder))]
    except OSError as error:
        return FoundVersion(folder, folder, (), f"it cannot be read: {error.strerror}")
    names = [name for name, *_ in files if name != PROBE_FILE]
    if CONFIG_FILE in names:
        return FoundVersion(folder, folder, tuple(files))
    if len(names) == 1:
        return FoundVersion(folder, folder / names[0], tuple(files))
    problem = (
        f"it has {len(names)} files ({', '.join(names[:5])}) and no {CONFIG_FILE}"
        if names
        else "it is empty"
    )
    advice = "a version is one n-gram file, or the files of a network"
    return FoundVersion(folder, folder, tuple(files), f"{problem}; {advice}")


def _stamp(path: Path) -> Stamp:
    stat = path.stat()
    return path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in _entries(folder) if path.is_dir())


def _entries(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))
