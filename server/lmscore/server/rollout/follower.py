"""Keeps what a server has loaded as its repository says it should be.

It looks again and again, because network file systems tell nobody of changes, and does after
each look what is still to be done: nothing depends on what was seen or done before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog

from lmscore.models.language_model import LanguageModel
from lmscore.models.network.placement import Placement
from lmscore.server.observer import Observer
from lmscore.server.repository import (
    FailedModel,
    LoadingModel,
    ModelRepository,
    ServedModel,
    UnloadedModel,
)
from lmscore.server.rollout.layout import FoundVersion
from lmscore.server.rollout.plan import Plan, labels_in_effect, plan
from lmscore.server.rollout.version import load_version
from lmscore.server.rollout.watcher import Watcher
from lmscore.server.rollout.worker import Worker

_NICENESS = 10  # of the thread that loads: half the share of a thread that answers calls, or less
_CHANGED = "its files were changed after it was loaded; put changes into a new version"

Result = TypeVar("Result")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FollowerSettings:
    """How a repository is followed."""

    poll_seconds: float
    keep_versions: int
    copy: bool  # files that could be mapped


class Follower:
    """Loads, switches and unloads; for the event loop, with threads of its own."""

    def __init__(
        self,
        watcher: Watcher,
        settings: FollowerSettings,
        placement: Placement,
        repository: ModelRepository,
        retired: Callable[[LanguageModel[Any]], None],
        tell_health: Callable[[str, bool | None], Awaitable[None]],
        observer: Observer | None = None,
    ) -> None:
        """Retired is told of models that get no further calls.

        tell_health is told whether a name is served; None if it is not known any more.
        """
        self._observer = observer or Observer()
        self.watcher = watcher
        self.repository = repository
        self._settings = settings
        self._placement = placement
        self._retired = retired
        self._tell_health = tell_health
        self._loader = Worker("load", _NICENESS)
        # A network's own threads have the priority of the one that starts them, for ever.
        self._network_loader = Worker("load-network")
        self._tried: dict[tuple[str, int], FoundVersion] = {}  # those loaded, and those that failed
        self._health: dict[str, bool] = {}
        self._loading: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    @property
    def keep_versions(self) -> int:
        """How many of the newest versions are kept loaded."""
        return self._settings.keep_versions

    async def start(self) -> None:
        """Load what is there, and follow from now on."""
        await self.watcher.look(at_start=True)
        await self._reconcile()
        while (task := self._loading) is not None:
            await asyncio.wait({task})
        self._polling = asyncio.create_task(self._poll())

    def close(self) -> None:
        """Follow no further."""
        for task in (self._polling, self._loading):
            if task is not None:
                task.cancel()
        for worker in (self.watcher, self._loader, self._network_loader):
            worker.close()

    async def look(self) -> None:
        """See what is there, and begin to do what follows from it."""
        await self.watcher.look()
        await self._reconcile()

    async def until(self, done: Callable[[], Result | None]) -> Result:
        """Wait for something to be there that is not None."""
        while (result := done()) is None:
            await self._news.wait()
        return result

    def try_again(self, name: str, version: int) -> None:
        """Forget that a version could not be loaded."""
        if isinstance(self.repository.versions(name).get(version), FailedModel):
            self._tried.pop((name, version), None)
            self.repository.put(LoadingModel(name, version))

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            try:
                await self.look()
            except Exception:  # a bug must not end the following
                log.exception("following the repository failed")

    async def _reconcile(self) -> None:
        """Do all that can be done at once, and begin to load what is to be loaded next."""
        names = sorted(self.watcher.names() | self._own_names())
        plans = {name: self._reconcile_model(name) for name in names}
        if self._loading is None:
            waiting = [(name, v) for name, each in plans.items() for v in each.load[:1]]
            # Those first that nothing answers for.
            waiting.sort(key=lambda one: self._health.get(one[0], False))
            if waiting:
                self._loading = asyncio.create_task(self._load(*waiting[0]))
        for name in names:
            await self._update_health(name)
        self._news.set()
        self._news = asyncio.Event()

    def _own_names(self) -> set[str]:
        return set(self.repository.names()) - self.watcher.taken_names

    def _reconcile_model(self, name: str) -> Plan:
        entries = dict(self.repository.versions(name))
        loaded = {v: entry for v, entry in entries.items() if isinstance(entry, ServedModel)}
        todo = self._plan(name, set(loaded))
        for version in sorted(loaded.keys() - todo.keep):
            self._retire(loaded[version])
        for version in sorted((entries.keys() | self.watcher.versions(name)) - todo.keep):
            self._describe(name, version, version in todo.load)
        for version in todo.keep:
            self._warn(name, version, version in todo.unwanted)
        labels, before = self.watcher.serving(name).labels, self.repository.labels(name)
        if self.repository.versions(name):
            self.repository.set_labels(name, labels_in_effect(labels, before, todo.keep))
        return todo

    def _plan(self, name: str, loaded: set[int]) -> Plan:
        if name not in self.watcher.names():  # its folder is gone
            return Plan((), frozenset())
        versions, serving = self.watcher.versions(name), self.watcher.serving(name)
        there = {v for v in versions if v in loaded or self.watcher.has_settled(name, v)}
        failed = {v for v in there - loaded if self._tried.get((name, v)) == versions[v]}
        in_effect = labels_in_effect(serving.labels, self.repository.labels(name), loaded)
        held = {label: version for label, version in in_effect.items() if version in loaded}
        return plan(there, failed, loaded, serving, held, self._settings.keep_versions)

    def _describe(self, name: str, version: int, wanted: bool) -> None:
        """Say of a version that does not answer why that is so."""
        entry = self.repository.versions(name).get(version)
        found = self.watcher.versions(name).get(version)
        if found is None:
            self._tried.pop((name, version), None)
            if not (isinstance(entry, UnloadedModel) and entry.in_use):
                self.repository.forget(name, version)
        elif wanted or not self.watcher.has_settled(name, version):
            if not isinstance(entry, FailedModel) or wanted:
                self.repository.put(LoadingModel(name, version))
        elif self._tried.get((name, version)) != found and not isinstance(entry, UnloadedModel):
            self.repository.put(UnloadedModel(name, version))

    def _warn(self, name: str, version: int, unwanted: bool) -> None:
        """Say of a version that answers why it would not be loaded again."""
        found = self.watcher.versions(name).get(version)
        problem = ""
        if found is None:
            problem = "its folder was removed; it serves on because no other version can"
        elif unwanted:
            problem = "it was unloaded; it serves on because no other version can"
        elif found != self._tried.get((name, version)):
            problem = _CHANGED
        before = self.repository.versions(name).get(version)
        if problem and isinstance(before, ServedModel) and before.problem != problem:
            log.warning("version problem", model=name, version=version, problem=problem)
        self.repository.warn(name, version, problem)

    def _retire(self, served: ServedModel) -> None:
        self.repository.retire(served)
        self._tried.pop((served.name, served.version), None)
        self._retired(served.model)
        self._observer.unloaded(served)
        log.info("version unloaded", model=served.name, version=served.version)

    async def _load(self, name: str, version: int) -> None:
        found = self.watcher.versions(name)[version]
        announced = LoadingModel(name, version)
        self._observer.announced(name)
        loader = self._network_loader if found.path == found.folder else self._loader
        work = partial(load_version, announced, found, self._placement, copy=self._settings.copy)
        try:
            self._finish(await loader.run(work), found)
        finally:
            self._loading = None
        await self._reconcile()

    def _finish(
        self, outcome: ServedModel | FailedModel | LoadingModel, found: FoundVersion
    ) -> None:
        """Switch: calls that find the model from now on find this one."""
        key = outcome.name, outcome.version
        if isinstance(outcome, LoadingModel):
            self.watcher.unsettle(*key)
            return
        self._tried[key] = found
        self.repository.put(outcome)
        if isinstance(outcome, FailedModel):
            self._observer.load_failed(outcome.name)
            log.error(
                "version cannot be loaded",
                model=outcome.name,
                version=outcome.version,
                problem=outcome.problem,
            )
        else:
            self._observer.loaded(outcome, outcome.load_seconds)
            log.info("version serves", model=outcome.name, version=outcome.version)

    async def _update_health(self, name: str) -> None:
        versions = self.repository.versions(name)
        if not versions:
            if self._health.pop(name, None) is not None:
                await self._tell_health(name, None)
            return
        serves = any(isinstance(entry, ServedModel) for entry in versions.values())
        if self._health.get(name) is not serves:
            self._health[name] = serves
            await self._tell_health(name, serves)
