"""What the interceptor makes of a handler's failures, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from lmscore.server.interceptor import CallInterceptor
from lmscore.v1 import language_model_service_pb2 as wire

METHOD = "ScoreStream"
SERVICE = "lmscore.v1.LanguageModelService"


async def called(failure: Exception) -> grpc.StatusCode:
    """The code that a stream ends with whose handler fails so, its caller still there."""

    async def handler(_requests: AsyncIterator[Any], _context: Any) -> None:
        raise failure

    server = grpc.aio.server(interceptors=[CallInterceptor()])
    method = grpc.stream_stream_rpc_method_handler(
        handler, wire.ScoreStreamRequest.FromString, wire.ScoreStreamResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.stream_stream(f"/{SERVICE}/{METHOD}")(iter(()))
            code: grpc.StatusCode = await call.code()
            return code
    finally:
        await server.stop(None)


@pytest.mark.parametrize(
    ("failure", "is_a_bug"),
    [
        (grpc.aio.InternalError("send"), False),
        (ExceptionGroup("two", [grpc.aio.InternalError("send"), grpc.aio.InternalError()]), False),
        (ExceptionGroup("two", [grpc.aio.InternalError("send"), KeyError("k")]), True),
        (KeyError("k"), True),
    ],
)
async def test_an_answer_that_cannot_be_sent_is_no_bug(
    failure: Exception, is_a_bug: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await called(failure)

    assert (code is grpc.StatusCode.INTERNAL) == is_a_bug
    assert ("internal error" in "".join(capsys.readouterr())) == is_a_bug
