"""The models that a server has, by name and version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmscore.models.error_detection.calibration import Calibration
from lmscore.models.language_model import LanguageModel
from lmscore.server.errors import ModelLoadingError, UnknownModelError


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A loaded model with the identity that its answers carry."""

    name: str
    version: int  # from 1
    fingerprint: str  # SHA-256 of its files, hexadecimal
    model: LanguageModel[Any]
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class LoadingModel:
    """A model that has been announced and is being read."""

    name: str
    version: int


class ModelRepository:
    """Models by name and version. A name answers as soon as one of its versions is loaded."""

    def __init__(self) -> None:
        self._models: dict[str, dict[int, ServedModel | LoadingModel]] = {}

    def announce(self, name: str, version: int = 1) -> None:
        """Make a model known before it is loaded: calls are told to wait for it."""
        self._models.setdefault(name, {})[version] = LoadingModel(name, version)

    def add(self, served: ServedModel) -> None:
        """Let a loaded model answer from now on."""
        self._models.setdefault(served.name, {})[served.version] = served

    def all(self) -> list[ServedModel | LoadingModel]:
        """Every model, ordered by name and version."""
        return [
            self._models[name][version]
            for name in sorted(self._models)
            for version in sorted(self._models[name])
        ]

    def find(self, name: str, version: int | None) -> ServedModel:
        """The version asked for, or the highest one loaded.

        Raises UnknownModelError or ModelLoadingError.
        """
        entry = self.describe(name, version)
        if isinstance(entry, LoadingModel):
            raise ModelLoadingError(name)
        return entry

    def describe(self, name: str, version: int | None) -> ServedModel | LoadingModel:
        """The same, a model that is still loading included. Raises UnknownModelError."""
        versions = self._models.get(name, {})
        if version is None and versions:
            loaded = [v for v, entry in versions.items() if isinstance(entry, ServedModel)]
            version = max(loaded or versions)
        if version is None or version not in versions:
            raise UnknownModelError(name, version, sorted(self._models))
        return versions[version]
