"""Around every call of ours: malformed requests, draining, and how errors become statuses."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status

from lmscore.server.call import Call, calling, priority_of
from lmscore.server.errors import DrainingError, DrainTimeoutError, ServiceError
from lmscore.server.security.access import Access
from lmscore.server.status import abort, internal_status, status_of
from lmscore.server.wire_check import explain_malformed

OUR_METHODS = "/lmscore."
"""Prefix of the methods this looks after; health and reflection look after themselves."""

log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True, slots=True)
class MalformedRequest:
    """Stands for a request that protobuf could not parse, until there is a call to end."""

    error: ServiceError


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Turns exceptions into statuses, refuses calls while draining, and counts those that run."""

    def __init__(self, access: Access | None = None) -> None:
        self._access = access or Access()
        self._draining = False
        self._expired = False
        self._tasks: set[asyncio.Task[Any]] = set()  # one for every call in progress
        self._idle = asyncio.Event()
        self._idle.set()

    async def drain(self) -> None:
        """Refuse new calls from now on, and wait until none runs."""
        self._draining = True
        await self._idle.wait()

    async def expire(self) -> None:
        """End the calls that are still running, each with a status that says why."""
        self._expired = True
        for task in self._tasks:
            task.cancel()
        await self._idle.wait()

    @property
    def running(self) -> int:
        """Number of calls in progress."""
        return len(self._tasks)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OUR_METHODS):
            return self._access.gate(handler, handler_call_details)
        parse, serialize = _tolerant(handler.request_deserializer), handler.response_serializer
        method = handler_call_details.method.rpartition("/")[2]
        # The stubs describe handlers that run on threads; these are coroutines.
        behaviour: Any
        if handler.request_streaming:
            behaviour = self._guard(method, handler.stream_stream, _checked_stream)
            return grpc.stream_stream_rpc_method_handler(behaviour, parse, serialize)
        if handler.response_streaming:
            behaviour = self._guard(method, handler.unary_stream, _checked)
            return grpc.unary_stream_rpc_method_handler(behaviour, parse, serialize)
        behaviour = self._guard(method, handler.unary_unary, _checked)
        return grpc.unary_unary_rpc_method_handler(behaviour, parse, serialize)

    def _guard(
        self, method: str, behaviour: Any, check: Callable[[Any], Any]
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def guarded(request: Any, context: Context) -> Any:
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            self._tasks.add(task)
            self._idle.clear()
            try:
                if self._draining:
                    raise DrainingError
                metadata = _metadata(context)
                call = _call(method, context, metadata)
                with calling(call), self._access.admitted(call, metadata):
                    return await behaviour(check(request), context)
            except asyncio.CancelledError:
                if not self._expired or context.done():
                    raise  # the caller has cancelled
                await abort(context, status_of(DrainTimeoutError()))
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
                if context.done() or _only_failed_writes(error):
                    return None  # the caller has gone, and what it left behind is no bug
                await abort(context, _status(error))
            finally:
                self._tasks.discard(task)
                if not self._tasks:
                    self._idle.set()

        return guarded


def _metadata(context: Context) -> dict[str, str]:
    return {key: str(value) for key, value in context.invocation_metadata() or ()}


def _call(method: str, context: Context, metadata: dict[str, str]) -> Call:
    remaining: float | None = context.time_remaining()
    deadline = math.inf if remaining is None else time.monotonic() + remaining
    return Call(method, context.peer(), priority_of(metadata, method), deadline)


def _only_failed_writes(error: BaseException) -> bool:
    """Whether all that went wrong is that answers could not be sent.

    A write fails as soon as the caller has gone, which can be before the context knows.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(_only_failed_writes, error.exceptions))
    return isinstance(error, grpc.aio.InternalError)


def _tolerant(parse: Any) -> Callable[[bytes], Message | MalformedRequest]:
    # gRPC would end a call that it cannot parse with UNKNOWN or INTERNAL and no details.
    message_class: type[Message] = parse.__self__

    def parse_or_explain(data: bytes) -> Message | MalformedRequest:
        try:
            return message_class.FromString(data)
        except DecodeError:
            return MalformedRequest(explain_malformed(data, message_class))

    return parse_or_explain


def _checked(request: Message | MalformedRequest) -> Message:
    if isinstance(request, MalformedRequest):
        raise request.error
    return request


async def _checked_stream(
    requests: AsyncIterator[Message | MalformedRequest],
) -> AsyncIterator[Message]:
    async for request in requests:
        yield _checked(request)


def _status(error: BaseException) -> Status:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # what one task of a stream raised
    if isinstance(error, ServiceError):
        return status_of(error)
    incident = uuid.uuid4().hex
    log.error("internal error", incident=incident, exc_info=error)
    return internal_status(incident)
