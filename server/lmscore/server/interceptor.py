"""Around every call of ours: malformed requests, draining, and how errors become statuses."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias, cast

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status

from lmscore.server.admission import Admission, in_place
from lmscore.server.call import Call, calling, priority_of
from lmscore.server.errors import DrainingError, DrainTimeoutError, ServiceError
from lmscore.server.observer import CallWatcher, Ending
from lmscore.server.request_id import REQUEST_ID_KEY, request_id
from lmscore.server.security.access import Access
from lmscore.server.status import abort, code_and_reason, internal_status, status_of
from lmscore.server.wire_check import explain_malformed
from lmscore.server.writing import serialized

OUR_METHODS = "/lmscore."
"""Prefix of the methods this looks after; health and reflection look after themselves."""

_CLOCKS_DIFFER_SECONDS = 0.005  # gRPC's and ours

log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour: TypeAlias = Callable[[Any, Context], Awaitable[bytes | None]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Turns exceptions into statuses, refuses calls while draining, and has calls watched."""

    def __init__(
        self,
        access: Access | None = None,
        admission: Admission | None = None,
        watchers: Sequence[CallWatcher] = (),
    ) -> None:
        self._access = access or Access()
        self.admission = admission or Admission()
        self._watchers = watchers
        self._draining = False
        self._expired = False
        self._guarded: dict[Handler, Handler] = {}  # by what it guards
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
        """The handler of one call, guarded."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OUR_METHODS):
            return self._access.gate(handler, handler_call_details)
        guarded = self._guarded.get(handler)
        if guarded is None:
            method = handler_call_details.method.rpartition("/")[2]
            guarded = self._guarded[handler] = self._guard(method, handler)
        return guarded

    def _guard(self, method: str, handler: Handler) -> Handler:
        """A handler that takes and gives bytes: how many of them there are counts."""
        parse = _parser(handler.request_deserializer)
        # The stubs describe handlers that run on threads; these are coroutines.
        own: Any = handler
        behaviour: Any

        async def answer_one(request: bytes, context: Context) -> bytes:
            return serialized(await own.unary_unary(parse(request), context))

        async def write_to_one(request: bytes, context: Context) -> None:
            await own.unary_stream(parse(request), context)

        async def write_to_many(requests: AsyncIterator[bytes], context: Context) -> None:
            await own.stream_stream(_parsed(requests, parse), context)

        if handler.request_streaming:
            behaviour = self._guard_behaviour(method, write_to_many)
            return grpc.stream_stream_rpc_method_handler(behaviour)
        if handler.response_streaming:
            behaviour = self._guard_behaviour(method, write_to_one)
            return grpc.unary_stream_rpc_method_handler(behaviour)
        behaviour = self._guard_behaviour(method, answer_one)
        return grpc.unary_unary_rpc_method_handler(behaviour)

    def _guard_behaviour(self, method: str, behaviour: Behaviour) -> Behaviour:
        async def guarded(request: Any, context: Context) -> bytes | None:
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            self._tasks.add(task)
            self._idle.clear()
            metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
            call, ending = _call(method, metadata, context), Ending()
            for watcher in self._watchers:
                watcher.began(call, metadata)
            try:
                return await self._let_in(call, metadata, behaviour, request, context)
            except asyncio.CancelledError:
                if not self._expired or context.done():
                    ending = _caller_left(call)
                    raise
                status = status_of(DrainTimeoutError())
                ending = Ending(*code_and_reason(status))
                await abort(context, status)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
                if context.done() or _only_failed_writes(error):
                    ending = _caller_left(call)  # and what it left behind is no bug
                    return None
                status = _status(error, call)
                ending = Ending(*code_and_reason(status))
                await abort(context, status)
            finally:
                for watcher in self._watchers:
                    watcher.ended(call, ending)
                self._tasks.discard(task)
                if not self._tasks:
                    self._idle.set()

        return guarded

    async def _let_in(
        self,
        call: Call,
        metadata: dict[str, str],
        behaviour: Behaviour,
        request: Any,
        context: Context,
    ) -> bytes | None:
        """The reply to a call that may go on, and has a place; raises why it may not."""
        if self._draining:
            raise DrainingError
        call.priority = priority_of(metadata, call.method)
        with calling(call), self._access.admitted(call, metadata):
            # Requests of a stream are counted by its window.
            size = len(request) if isinstance(request, bytes) else 0
            place = self.admission.enter(call, size)
            ends: Any = context  # whose stub wants its argument named
            ends.add_done_callback(lambda _: place.leave())  # when the reply is sent
            with in_place(place):
                reply = await behaviour(request, context)
            if reply is not None:
                place.sending(len(reply))
            return reply


def _call(method: str, metadata: dict[str, str], context: Context) -> Call:
    remaining: float | None = context.time_remaining()
    deadline = math.inf if remaining is None else time.monotonic() + remaining
    call = Call(method, context.peer(), deadline=deadline, id=request_id(metadata))
    context.set_trailing_metadata(((REQUEST_ID_KEY, call.id),))
    return call


def _caller_left(call: Call) -> Ending:
    """How a call ends that its caller gives up, or gRPC for it when its time is over."""
    late = call.remaining_seconds < _CLOCKS_DIFFER_SECONDS
    return Ending(grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED)


def _only_failed_writes(error: BaseException) -> bool:
    """Whether all that went wrong is that answers could not be sent.

    A write fails as soon as the caller has gone, which can be before the context knows.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(_only_failed_writes, error.exceptions))
    return isinstance(error, grpc.aio.InternalError)


def _parser(deserialize: Any) -> Callable[[bytes], Any]:
    """What makes a request of bytes, or raises a ServiceError that says why that cannot be done."""
    message_class = getattr(deserialize, "__self__", None)
    if not isinstance(message_class, type) or not issubclass(message_class, Message):
        return cast("Callable[[bytes], Any]", deserialize)  # which explains that itself
    found: type[Message] = message_class

    def parse(data: bytes) -> Message:
        # gRPC would end a call that it cannot parse with UNKNOWN or INTERNAL and no details.
        try:
            return found.FromString(data)
        except DecodeError:
            raise explain_malformed(data, found) from None

    return parse


async def _parsed(
    requests: AsyncIterator[bytes], parse: Callable[[bytes], Any]
) -> AsyncIterator[Any]:
    async for request in requests:
        yield parse(request)


def _status(error: BaseException, call: Call) -> Status:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # what one task of a stream raised
    if isinstance(error, ServiceError):
        return status_of(error)
    incident = uuid.uuid4().hex
    log.error("internal error", incident=incident, request=call.id, exc_info=error)
    return internal_status(incident)
