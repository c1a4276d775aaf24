"""The models that a server has, by name, version and label."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from lmscore.models.error_detection.calibration import Calibration
from lmscore.models.language_model import LanguageModel
from lmscore.server.errors import (
    CorruptModelError,
    ModelLoadingError,
    NotLoadedError,
    UnknownLabelError,
    UnknownModelError,
)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A loaded model with the identity that its answers carry."""

    name: str
    version: int  # from 1
    fingerprint: str  # SHA-256 of its files, hexadecimal
    model: LanguageModel[Any]
    load_seconds: float = 0.0
    loaded_at: float = 0.0  # seconds since 1970
    problem: str = ""  # why it would not be loaded again; empty if it would
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class LoadingModel:
    """A model that has been announced and is being read."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class FailedModel:
    """A version that cannot be loaded."""

    name: str
    version: int
    problem: str


@dataclass(frozen=True, slots=True)
class UnloadedModel:
    """A version that gets no calls; those that it had may still hold the model."""

    name: str
    version: int
    model: weakref.ref[LanguageModel[Any]] | None = None  # None: it has not been loaded

    @property
    def in_use(self) -> bool:
        """Whether the model is still in memory."""
        return self.model is not None and self.model() is not None


Entry: TypeAlias = ServedModel | LoadingModel | FailedModel | UnloadedModel


class ModelRepository:
    """Models by name and version. A name answers as soon as one of its versions is loaded.

    For the event loop only: between two of its steps a name has one version that answers for it.
    """

    def __init__(self) -> None:
        self._models: dict[str, dict[int, Entry]] = {}
        self._labels: dict[str, Mapping[str, int]] = {}

    def announce(self, name: str, version: int = 1) -> None:
        """Make a model known before it is loaded: calls are told to wait for it."""
        self.put(LoadingModel(name, version))

    def add(self, served: ServedModel) -> None:
        """Let a loaded model answer from now on."""
        self.put(served)

    def put(self, entry: Entry) -> None:
        """Let a version be what the entry says from now on."""
        self._models.setdefault(entry.name, {})[entry.version] = entry

    def retire(self, served: ServedModel) -> None:
        """Give a version to no further calls, and keep no reference to its model."""
        self.put(UnloadedModel(served.name, served.version, weakref.ref(served.model)))

    def warn(self, name: str, version: int, problem: str) -> None:
        """Say what is wrong with a version that answers."""
        served = self._models[name][version]
        if isinstance(served, ServedModel) and served.problem != problem:
            self._models[name][version] = replace(served, problem=problem)

    def forget(self, name: str, version: int) -> None:
        """Know nothing of a version any more, nor of the name if it was the last one."""
        versions = self._models.get(name, {})
        versions.pop(version, None)
        if not versions:
            self._models.pop(name, None)
            self._labels.pop(name, None)

    def set_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Let a model have these labels, and no others."""
        self._labels[name] = dict(labels)

    def labels(self, name: str) -> Mapping[str, int]:
        """The versions of a model that have labels, by label."""
        return self._labels.get(name, {})

    def labels_of(self, entry: Entry) -> list[str]:
        """The labels of a version, in alphabetical order."""
        return sorted(k for k, v in self.labels(entry.name).items() if v == entry.version)

    def names(self) -> list[str]:
        """Every model's name, in order."""
        return sorted(self._models)

    def versions(self, name: str) -> Mapping[int, Entry]:
        """What is known of a model, by version."""
        return self._models.get(name, {})

    def all(self) -> list[Entry]:
        """Every model, ordered by name and version."""
        return [
            self._models[name][version]
            for name in sorted(self._models)
            for version in sorted(self._models[name])
        ]

    def find(self, name: str, version: int | None, label: str | None = None) -> ServedModel:
        """The version or label asked for, or the highest version loaded.

        Raises UnknownModelError, or the error that says why the version does not answer.
        """
        match self.describe(name, version, label):
            case ServedModel() as served:
                return served
            case LoadingModel():
                raise ModelLoadingError(name)
            case FailedModel(problem=problem) as failed:
                raise CorruptModelError(f"{name} version {failed.version}: {problem}")
            case UnloadedModel() as unloaded:
                raise NotLoadedError(name, unloaded.version)

    def describe(self, name: str, version: int | None, label: str | None = None) -> Entry:
        """The same, whether it answers or not. Raises UnknownModelError."""
        versions = self._models.get(name, {})
        if label is not None and versions:
            if label not in self.labels(name):
                raise UnknownLabelError(name, label, sorted(self.labels(name)))
            version = self.labels(name)[label]
        if version is None and versions:
            [version, *others] = versions
            if others:
                version = max(versions, key=lambda each: (_nearness(versions[each]), each))
        if version is None or version not in versions:
            raise UnknownModelError(name, version, sorted(self._models))
        return versions[version]


def _nearness(entry: Entry) -> int:
    """How much a version has to say for its name when none is asked for."""
    order = (UnloadedModel, FailedModel, LoadingModel, ServedModel)
    return order.index(type(entry))
