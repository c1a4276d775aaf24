"""serving.json: what an operator has said about a model's versions, for all servers that read it.

{"labels": {"stable": 3}, "loaded": [2], "unloaded": [4]}
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVING_FILE = "serving.json"
LABEL = re.compile(r"[a-z][a-z0-9-]{0,62}")


class ServingError(Exception):
    """The file cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What is to serve besides the newest version, and what is not."""

    labels: Mapping[str, int] = field(default_factory=dict)  # versions by label
    loaded: frozenset[int] = frozenset()  # kept loaded beside newer ones
    unloaded: frozenset[int] = frozenset()  # not loaded, unless a label names them

    @property
    def named(self) -> frozenset[int]:
        """Versions that are to be loaded whatever else there is."""
        return frozenset(self.labels.values()) | self.loaded


def read_serving(path: Path) -> Serving:
    """What the file says; nothing if it is absent. Raises ServingError."""
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Serving()
    except OSError as error:
        raise ServingError(f"{SERVING_FILE}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ServingError(f"{SERVING_FILE}: not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ServingError(f"{SERVING_FILE}: not an object")
    if unknown := sorted(values.keys() - {"labels", "loaded", "unloaded"}):
        raise ServingError(f"{SERVING_FILE}: there is no field {unknown[0]!r}")
    return Serving(
        _labels(values.get("labels", {})),
        _versions("loaded", values.get("loaded", [])),
        _versions("unloaded", values.get("unloaded", [])),
    )


def _labels(value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        raise ServingError(f"{SERVING_FILE}: labels: not an object")
    for label, version in value.items():
        if not LABEL.fullmatch(label):
            raise ServingError(f"{SERVING_FILE}: labels: {label!r} is not a label")
        _check_version(f"labels.{label}", version)
    return value


def _versions(name: str, value: Any) -> frozenset[int]:
    if not isinstance(value, list):
        raise ServingError(f"{SERVING_FILE}: {name}: not a list of versions")
    for version in value:
        _check_version(name, version)
    return frozenset(value)


def _check_version(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ServingError(f"{SERVING_FILE}: {name}: {value!r} is not a version")


def change_serving(folder: Path, change: Callable[[Serving], Serving]) -> None:
    """Replace what a model's file says, at once: nobody reads half of it.

    Changes of several processes come one after the other. Raises ServingError or OSError.
    """
    with _locked(folder):
        before = read_serving(folder / SERVING_FILE)
        after = change(before)
        if after != before:
            _write(folder / SERVING_FILE, after)


def _write(path: Path, serving: Serving) -> None:
    values = {
        "labels": dict(sorted(serving.labels.items())),
        "loaded": sorted(serving.loaded),
        "unloaded": sorted(serving.unloaded),
    }
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("w", encoding="utf-8") as file:
            json.dump(values, file)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network file system may lock no folders: the last one wins
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
