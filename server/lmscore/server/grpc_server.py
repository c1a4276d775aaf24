"""gRPC servers, with what costs a call nothing that it does not need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import grpc

from lmscore.server.convert.score_request import score_request, stream_request
from lmscore.server.interceptor import CallInterceptor
from lmscore.server.service import LanguageModelService
from lmscore.v1.language_model_service_pb2 import DESCRIPTOR
from lmscore.v1.language_model_service_pb2_grpc import add_LanguageModelServiceServicer_to_server

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_SERVICE = DESCRIPTOR.services_by_name["LanguageModelService"].full_name


def new_grpc_server(calls: CallInterceptor, options: Sequence[tuple[str, int]]) -> grpc.aio.Server:
    """A server with the interceptor around every call.

    Generated code adds its methods twice, as generic handlers and as registered ones. grpc.aio
    keeps a request pending for each registered method, and at every call waits for all of them
    anew. So only the generic handlers are taken.
    """
    server: Any = grpc.aio.server(interceptors=[calls], options=options)
    server.add_registered_method_handlers = _ignore
    return server  # type: ignore[no-any-return]


def add_language_models(service: LanguageModelService, server: grpc.aio.Server) -> None:
    """Add the service, whose bulk methods have ways of their own to and from the wire."""
    methods = _Methods()
    add_LanguageModelServiceServicer_to_server(service, methods)  # type: ignore[arg-type]
    score: Any = service.Score
    score_stream: Any = service.ScoreStream
    methods.handlers |= {
        "Score": grpc.unary_unary_rpc_method_handler(score, score_request),
        "ScoreStream": grpc.stream_stream_rpc_method_handler(score_stream, stream_request),
    }
    generic = grpc.method_handlers_generic_handler(_SERVICE, methods.handlers)
    server.add_generic_rpc_handlers((generic,))


class _Methods:
    """Stands for a server where generated code adds methods, and keeps them."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing that is not told of registered ones."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Keep them."""
        del service
        self.handlers.update(handlers)


def _ignore(service: str, handlers: Mapping[str, Handler]) -> None:
    """Register nothing."""
