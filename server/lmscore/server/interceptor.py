"""Around every call of ours: malformed requests, draining, and how errors become statuses."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status

from lmscore.server.admission import Admission, Place, in_place
from lmscore.server.call import Call, calling, priority_of
from lmscore.server.errors import DrainingError, DrainTimeoutError, ServiceError
from lmscore.server.observer import CallWatcher, Ending
from lmscore.server.request_id import REQUEST_ID_KEY, request_id
from lmscore.server.security.access import Access
from lmscore.server.status import abort, code_and_reason, internal_status, status_of
from lmscore.server.wire_check import explain_malformed

OUR_METHODS = "/lmscore."
"""Prefix of the methods this looks after; health and reflection look after themselves."""

_CLOCKS_DIFFER_SECONDS = 0.005  # gRPC's and ours

log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True, slots=True)
class MalformedRequest:
    """Stands for a request that protobuf could not parse, until there is a call to end."""

    error: ServiceError


@dataclass(slots=True)
class _Sizes:
    """What a call's messages take; requests of a stream are counted by its window."""

    request: int = 0  # bytes, before the call has its place
    place: Place | None = None


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
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OUR_METHODS):
            return self._access.gate(handler, handler_call_details)
        sizes = _Sizes()
        parse = _tolerant(handler.request_deserializer, sizes)
        serialize = _counted(handler.response_serializer, sizes)
        method = handler_call_details.method.rpartition("/")[2]
        # The stubs describe handlers that run on threads; these are coroutines.
        behaviour: Any
        if handler.request_streaming:
            behaviour = self._guard(method, handler.stream_stream, _checked_stream, sizes)
            return grpc.stream_stream_rpc_method_handler(behaviour, parse, serialize)
        if handler.response_streaming:
            behaviour = self._guard(method, handler.unary_stream, _checked, sizes)
            return grpc.unary_stream_rpc_method_handler(behaviour, parse, serialize)
        behaviour = self._guard(method, handler.unary_unary, _checked, sizes)
        return grpc.unary_unary_rpc_method_handler(behaviour, parse, serialize)

    def _guard(
        self, method: str, behaviour: Any, check: Callable[[Any], Any], sizes: _Sizes
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def guarded(request: Any, context: Context) -> Any:
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            self._tasks.add(task)
            self._idle.clear()
            metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
            call = _call(method, metadata, context)
            try:
                with self._watched(call, metadata) as ending:
                    try:
                        with self._admitted(call, metadata, sizes, context):
                            return await behaviour(check(request), context)
                    except (asyncio.CancelledError, Exception) as error:
                        status = self._ended_by(error, call, context)
                        if status is not None:
                            ending.code, ending.reason = code_and_reason(status)
                        else:
                            ending.code = _code_of_who_left(call)
                            if isinstance(error, asyncio.CancelledError):
                                raise
                if status is not None:  # whoever has it finds the call counted
                    await abort(context, status)
            finally:
                self._tasks.discard(task)
                if not self._tasks:
                    self._idle.set()

        return guarded

    @contextmanager
    def _watched(self, call: Call, metadata: dict[str, str]) -> Iterator[Ending]:
        """Tell the watchers when a call begins, and when it ends and how."""
        ending = Ending()
        for watcher in self._watchers:
            watcher.began(call, metadata)
        try:
            yield ending
        finally:
            for watcher in self._watchers:
                watcher.ended(call, ending)

    def _ended_by(self, error: BaseException, call: Call, context: Context) -> Status | None:
        """What a call is told that ends so; nothing if nobody is there any more."""
        if context.done():
            return None  # and what the caller left behind is no bug
        if isinstance(error, asyncio.CancelledError):
            return status_of(DrainTimeoutError()) if self._expired else None
        return None if _only_failed_writes(error) else _status(error, call)

    @contextmanager
    def _admitted(
        self, call: Call, metadata: dict[str, str], sizes: _Sizes, context: Context
    ) -> Iterator[None]:
        """A call that may go on, and has a place; raises why it may not."""
        if self._draining:
            raise DrainingError
        call.priority = priority_of(metadata, call.method)
        with calling(call), self._access.admitted(call, metadata):
            place = sizes.place = self.admission.enter(call, sizes.request)
            ends: Any = context  # whose stub wants its argument named
            ends.add_done_callback(lambda _: place.leave())  # when the reply is sent
            with in_place(place):
                yield


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


def _counted(serialize: Any, sizes: _Sizes) -> Callable[[Message], bytes]:
    def counted(message: Message) -> bytes:
        data: bytes = serialize(message)
        if sizes.place is not None:
            sizes.place.sending(len(data))
        return data

    return counted


def _tolerant(parse: Any, sizes: _Sizes) -> Callable[[bytes], Message | MalformedRequest]:
    # gRPC would end a call that it cannot parse with UNKNOWN or INTERNAL and no details.
    message_class: type[Message] = parse.__self__

    def parse_or_explain(data: bytes) -> Message | MalformedRequest:
        if sizes.place is None:
            sizes.request = len(data)
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


def _status(error: BaseException, call: Call) -> Status:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # what one task of a stream raised
    if isinstance(error, ServiceError):
        return status_of(error)
    incident = uuid.uuid4().hex
    log.error("internal error", incident=incident, request=call.id, exc_info=error)
    return internal_status(incident)
