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

    def refuse(self) -> None:
        """Refuse new calls from now on."""
        self._draining = True

    async def drain(self) -> None:
        """Refuse new calls, and wait until none runs."""
        self.refuse()
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
            call = _call(method, metadata, context)
            try:
                return await self._watched(call, metadata, behaviour, request, context)
            finally:
                self._tasks.discard(task)
                if not self._tasks:
                    self._idle.set()

        return guarded

    async def _watched(
        self,
        call: Call,
        metadata: dict[str, str],
        behaviour: Behaviour,
        request: Any,
        context: Context,
    ) -> bytes | None:
        """The reply to a call; the watchers are told when it begins, and when it ends and how."""
        for watcher in self._watchers:
            watcher.began(call, metadata)
        ending, status = Ending(), None
        try:
            return await self._let_in(call, metadata, behaviour, request, context)
        except (asyncio.CancelledError, Exception) as error:
            status = self._ended_by(error, call, context)
            if status is not None:
                ending = Ending(*code_and_reason(status))
            else:
                ending = Ending(_code_of_who_left(call))
                if isinstance(error, asyncio.CancelledError):
                    raise
        finally:
            for watcher in self._watchers:
                watcher.ended(call, ending)
        if status is not None:  # whoever has it finds the call counted
            await abort(context, status)
        return None

    def _ended_by(self, error: BaseException, call: Call, context: Context) -> Status | None:
        """What a call is told that ends so; nothing if nobody is there any more."""
        if context.done():
            return None  # and what the caller left behind is no bug
        if isinstance(error, asyncio.CancelledError):
            return status_of(DrainTimeoutError()) if self._expired else None
        return None if _only_failed_writes(error) else _status(error, call)

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
    now = time.monotonic()  # before it is asked: a thread that has to wait here loses nothing
    remaining: float | None = context.time_remaining()
    deadline = math.inf if remaining is None else now + remaining
    call = Call(method, context.peer(), deadline=deadline, id=request_id(metadata))
    context.set_trailing_metadata(((REQUEST_ID_KEY, call.id),))
    return call


def _code_of_who_left(call: Call) -> grpc.StatusCode:
    """How a call ends that its caller gives up, or gRPC for it when its time is over."""
    late = call.remaining_seconds < _CLOCKS_DIFFER_SECONDS
    return grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED


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
