"""Sees what is in a repository, and which of it nobody is writing to any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from lmscore.server.rollout.layout import Found, FoundModel, FoundVersion, scan
from lmscore.server.rollout.serving import Serving
from lmscore.server.rollout.worker import Worker

Result = TypeVar("Result")

log = structlog.get_logger()


@dataclass(slots=True)
class _Seen:
    """A version as it was last seen, and since when it has been so."""

    found: FoundVersion
    since: float  # on time.monotonic()'s clock
    settled: bool


class Watcher:
    """A repository as it was last seen; for the event loop, with a thread that reads it."""

    def __init__(self, root: Path, settle_seconds: float, taken_names: frozenset[str]) -> None:
        """A version has settled that looks the same after so long.

        taken_names are of models that are served from elsewhere, and ignored here.
        """
        self.root = root
        self.taken_names = taken_names
        self._settle_seconds = settle_seconds
        self._models: dict[str, FoundModel] = {}
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._complaints: set[str] = set()
        self._thread = Worker("repository")

    def close(self) -> None:
        """Look no more."""
        self._thread.close()

    def names(self) -> set[str]:
        """The models that are there."""
        return set(self._models)

    def versions(self, name: str) -> dict[int, FoundVersion]:
        """The versions of a model that are there; none if the model is not."""
        return dict(self._models[name].versions) if name in self._models else {}

    def serving(self, name: str) -> Serving:
        """What the operator says of a model; what was said last while that cannot be read."""
        model = self._models.get(name)
        return model.serving if model is not None and model.serving is not None else Serving()

    def has_settled(self, name: str, version: int) -> bool:
        """Whether nobody seems to be writing to a version that is there."""
        return self._seen[name, version].settled

    def unsettle(self, name: str, version: int) -> None:
        """Say that a version was being written to after all."""
        if (name, version) in self._seen:
            self._seen[name, version].settled = False

    async def run(self, work: Callable[[], Result]) -> Result:
        """What work with the repository's files gives, which may take its time."""
        return await self._thread.run(work)

    async def look(self, *, at_start: bool = False) -> None:
        """See what is there; nothing changes if that is not possible now.

        What is there at the start counts as settled: if it is not, it will not load, or will have
        changed when it has been.
        """
        try:
            found = await self._thread.run(partial(scan, self.root))
        except OSError as error:
            self._complain({f"the repository cannot be read: {error.strerror}"})
            return
        self._take(found, time.monotonic(), at_start)

    def _take(self, found: Found, now: float, at_start: bool) -> None:
        problems = set(found.problems)
        for name in self.taken_names & found.models.keys():
            problems.add(f"{name}: not served: there is a model of that name in --model")
        self._complain(problems)
        before = self._models
        self._models = {
            name: _with_last_words(model, before.get(name))
            for name, model in found.models.items()
            if name not in self.taken_names
        }
        for name in found.unreadable & before.keys():
            self._models[name] = before[name]
        self._seen = {
            (name, version): self._see(self._seen.get((name, version)), each, now, at_start)
            for name, model in self._models.items()
            for version, each in model.versions.items()
        }

    def _see(self, before: _Seen | None, found: FoundVersion, now: float, at_start: bool) -> _Seen:
        if before is None or before.found != found:
            return _Seen(found, now, at_start)
        settled = before.settled or now - before.since >= self._settle_seconds
        return _Seen(found, before.since, settled)

    def _complain(self, problems: set[str]) -> None:
        """Log each problem once for as long as it is there."""
        for problem in sorted(problems - self._complaints):
            log.warning("repository problem", problem=problem)
        self._complaints = problems


def _with_last_words(model: FoundModel, before: FoundModel | None) -> FoundModel:
    if model.serving is not None or before is None:
        return model
    return FoundModel(model.versions, before.serving)
