"""Loading, unloading and labelling on demand.

What is asked for is written into serving.json, where all servers of the repository find it; the
call ends when this one has done it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from lmscore.server.errors import (
    CorruptModelError,
    InvalidFieldError,
    RefusedChangeError,
    UnknownLabelError,
    UnknownModelError,
)
from lmscore.server.model_source import MODEL_NAME
from lmscore.server.repository import Entry, FailedModel, ServedModel
from lmscore.server.rollout.follower import Follower
from lmscore.server.rollout.serving import LABEL, Serving, ServingError, change_serving


class Administration:
    """What an operator can ask of a server; without a repository, all of it is refused."""

    def __init__(self, follower: Follower | None) -> None:
        self._follower = follower

    async def load(self, name: str, version: int) -> Entry:
        """Load a version, and keep it loaded beside newer ones.

        Raises UnknownModelError, CorruptModelError or RefusedChangeError.
        """
        follower = await self._following(name, version)
        newest = self._newest(follower, name)

        def change(serving: Serving) -> Serving:
            pinned = set() if version in newest else {version}
            return replace(
                serving,
                loaded=serving.loaded | pinned,
                unloaded=serving.unloaded - {version},
            )

        await self._change(follower, name, change)
        follower.try_again(name, version)
        await follower.look()
        return await follower.until(partial(self._outcome, follower, name, version))

    async def unload(self, name: str, version: int, *, force: bool) -> Entry:
        """Give a version to no further calls, and do not load it again by itself.

        Raises UnknownModelError or RefusedChangeError, also if a label names it or no other version
        could answer, unless that is forced.
        """
        follower = await self._following(name, version)
        going = {version}
        if force and not self._others(follower, name, version):
            going |= follower.watcher.versions(name).keys()
        if not force:
            self._check_unload(follower, name, version)
        before = follower.watcher.serving(name)

        def change(serving: Serving) -> Serving:
            labels = {k: v for k, v in serving.labels.items() if v not in going}
            return Serving(labels, serving.loaded - going, serving.unloaded | going)

        await self._change(follower, name, change)
        await follower.look()
        unloaded: Entry = await follower.until(partial(self._unloaded, follower, name, version))
        if isinstance(unloaded, ServedModel):  # what was to answer in its place cannot be loaded
            new = going - before.unloaded
            undo = lambda now: replace(now, unloaded=now.unloaded - new)  # noqa: E731
            await self._change(follower, name, undo)
            await follower.look()
            problem = f"{name} version {version} serves on: no other version can be loaded"
            raise RefusedChangeError(problem)
        return unloaded

    async def set_label(self, name: str, label: str, version: int | None) -> Entry | None:
        """Let a label name a version, which is loaded first, or nothing any more.

        Raises UnknownModelError, UnknownLabelError, CorruptModelError or RefusedChangeError; the
        label is then as it was before.
        """
        if not LABEL.fullmatch(label):
            problem = (
                f"{label!r} is not a lower-case letter followed by such letters, digits or '-'"
            )
            raise InvalidFieldError("label", problem)
        follower = await self._following(name, version)
        before = follower.watcher.serving(name).labels.get(label)
        if version is None and before is None:
            raise UnknownLabelError(name, label, sorted(follower.watcher.serving(name).labels))
        await self._change(follower, name, partial(_labelled, label, version))
        if version is None:
            await follower.look()
            return None
        follower.try_again(name, version)
        await follower.look()
        try:
            return await follower.until(partial(self._outcome, follower, name, version))
        except CorruptModelError:
            await self._change(follower, name, partial(_labelled, label, before))
            await follower.look()
            raise

    async def _following(self, name: str, version: int | None) -> Follower:
        """The follower, if it knows the version, or sees it now."""
        if not MODEL_NAME.fullmatch(name):
            raise InvalidFieldError("name", f"{name[:80]!r} is not a model name")
        if version == 0:
            raise InvalidFieldError("version", "versions are numbers from 1")
        if self._follower is None:
            raise RefusedChangeError("this server has no repository: it needs --repository DIR")
        watcher = self._follower.watcher
        if name in watcher.taken_names:
            raise RefusedChangeError(f"{name} is not of the repository, but given with --model")
        await self._follower.look()
        if name not in watcher.names():
            raise UnknownModelError(name, None, sorted(watcher.names()))
        if version is not None and version not in watcher.versions(name):
            there = [f"{name} version {each}" for each in sorted(watcher.versions(name))]
            raise UnknownModelError(name, version, there)
        return self._follower

    async def _change(
        self, follower: Follower, name: str, change: Callable[[Serving], Serving]
    ) -> None:
        folder = follower.watcher.root / name
        try:
            await follower.watcher.run(partial(change_serving, folder, change))
        except ServingError as error:
            raise RefusedChangeError(f"{name}/{error}") from None
        except OSError as error:
            problem = f"the repository cannot be written to: {error.strerror}"
            raise RefusedChangeError(problem) from None

    def _newest(self, follower: Follower, name: str) -> set[int]:
        """Versions that would be loaded without being named, as far as can be known before."""
        unloaded = follower.watcher.serving(name).unloaded
        there = sorted(follower.watcher.versions(name).keys() - unloaded, reverse=True)
        return set(there[: follower.keep_versions])

    def _others(self, follower: Follower, name: str, version: int) -> set[int]:
        """Versions that could answer in the place of one."""
        entries = follower.repository.versions(name)
        failed = {v for v, entry in entries.items() if isinstance(entry, FailedModel)}
        unloaded = follower.watcher.serving(name).unloaded
        return follower.watcher.versions(name).keys() - failed - unloaded - {version}

    def _check_unload(self, follower: Follower, name: str, version: int) -> None:
        labels = follower.watcher.serving(name).labels
        if naming := sorted(label for label, named in labels.items() if named == version):
            problem = f"the label {naming[0]} names {name} version {version}"
            raise RefusedChangeError(f"{problem}; let it name another one first, or force it")
        if not self._others(follower, name, version):
            problem = f"{name} version {version} is the last that can answer; force takes it away"
            raise RefusedChangeError(problem)

    def _outcome(self, follower: Follower, name: str, version: int) -> Entry | None:
        """The version once it answers; None before."""
        entry = follower.repository.versions(name).get(version)
        if entry is None:  # its folder was removed meanwhile
            raise UnknownModelError(name, version, sorted(follower.watcher.names()))
        if isinstance(entry, FailedModel):
            raise CorruptModelError(f"{name} version {version}: {entry.problem}")
        return entry if isinstance(entry, ServedModel) else None

    def _unloaded(self, follower: Follower, name: str, version: int) -> Entry | None:
        """The version once it gets no calls, or once it turns out that it has to."""
        entry = follower.repository.versions(name).get(version)
        if entry is None:
            raise UnknownModelError(name, version, sorted(follower.watcher.names()))
        if isinstance(entry, ServedModel) and not entry.problem:
            return None
        return entry


def _labelled(label: str, version: int | None, serving: Serving) -> Serving:
    others = {k: v for k, v in serving.labels.items() if k != label}
    if version is None:
        return replace(serving, labels=others)
    return Serving({**others, label: version}, serving.loaded, serving.unloaded - {version})
