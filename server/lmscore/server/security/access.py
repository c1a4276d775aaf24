"""Who may call: every call's API key, and what it is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import grpc

from lmscore.server.call import Call, Priority
from lmscore.server.errors import ServiceError
from lmscore.server.security.errors import AdminOnlyError, ApiKeyMissingError, ApiKeyUnknownError
from lmscore.server.security.files import WatchedFiles
from lmscore.server.security.keys import ApiKey, KeyRing
from lmscore.server.security.quota import Quota, charging
from lmscore.server.status import abort, status_of

ADMIN_METHODS = frozenset({"LoadModel", "UnloadModel", "SetLabel"})
"""Methods that only keys with ``admin = true`` may call."""

OPEN_METHODS = "/grpc.health.v1.Health/"
"""Prefix of what needs no key: orchestrators ask for it, and it tells no more than names."""

_SCHEME = "bearer"
_FREE = nullcontext()
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Access:
    """Lets calls in. Without keys, everybody may do everything."""

    def __init__(self, keys: WatchedFiles[KeyRing] | None = None, processes: int = 1) -> None:
        self._keys = keys
        self._processes = processes
        self._quotas: dict[str, tuple[ApiKey, Quota]] = {}  # by name of the key

    def admitted(self, call: Call, metadata: Mapping[str, str]) -> AbstractContextManager[object]:
        """Check a call and name it after its key; within it, its work is charged to that.

        Raises ApiKeyMissingError, ApiKeyUnknownError, AdminOnlyError or QuotaExceededError.
        """
        key = self.identify(metadata)
        if key is None:
            return _FREE
        if call.method in ADMIN_METHODS and not key.settings.admin:
            raise AdminOnlyError(key.name, call.method)
        call.caller = key.name
        if key.settings.priority == Priority.BULK.value:
            call.priority = Priority.BULK
        quota = self._quota(key)
        quota.admit()
        return charging(quota)

    def identify(self, metadata: Mapping[str, str]) -> ApiKey | None:
        """The caller's key; None where no keys are wanted."""
        if self._keys is None:
            return None
        presented = _presented(metadata)
        if not presented:
            raise ApiKeyMissingError
        key = self._keys.value().find(presented)
        if key is None:
            raise ApiKeyUnknownError
        return key

    def gate(self, handler: Handler | None, details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler of a method that is not ours, or one that refuses: reflection needs a key."""
        if handler is None or details.method.startswith(OPEN_METHODS):
            return handler
        received: Any = details.invocation_metadata  # its stub lacks the type
        try:
            self.identify({key: str(value) for key, value in received or ()})
        except ServiceError as error:
            return _refusing(error)
        return handler

    def _quota(self, key: ApiKey) -> Quota:
        known, quota = self._quotas.get(key.name, (None, None))
        if quota is None:
            quota = Quota(key, self._processes)
        elif known != key:
            quota.set_limits(key)
        self._quotas[key.name] = key, quota
        return quota


def _presented(metadata: Mapping[str, str]) -> str:
    scheme, _, key = metadata.get("authorization", "").partition(" ")
    if scheme.lower() == _SCHEME:
        return key.strip()
    return metadata.get("x-api-key", "").strip()


def _refusing(error: ServiceError) -> Handler:
    async def refuse(_requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await abort(context, status_of(error))

    behaviour: Any = refuse  # the stub describes handlers that run on threads
    return grpc.stream_stream_rpc_method_handler(behaviour)  # which reads nothing: fits any call
