"""Metrics over HTTP, for Prometheus."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from lmscore.server.ports import resolve
from lmscore.server.stages import StartError

READ_SECONDS = 10.0
"""How long a connection may be silent before it is closed."""

_POLL_SECONDS = 0.1  # how soon it notices that it is to close
_PAGE = b"lmscore: /metrics has metrics for Prometheus, /healthz says whether calls are answered\n"

Application: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

log = structlog.get_logger()


class MetricsEndpoint:
    """A server of metrics that runs on threads of its own until it is closed."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that was really taken."""
        return self._server.server_port

    def close(self) -> None:
        """Close the port; what is being answered is given up."""
        self._server.shutdown()
        self._server.server_close()


def serve_metrics(
    address: str,
    collect: Callable[[], CollectorRegistry],
    is_serving: Callable[[], bool] = lambda: True,
) -> MetricsEndpoint:
    """Answer /metrics with what collect gives at that moment, and /healthz with 200 or 503.

    Raises StartError if nothing can listen there.
    """
    try:
        server = _server_at(address)
    except OSError as error:
        raise StartError(f"cannot serve metrics on {address}: {error.strerror}") from None
    server.set_app(_application(collect, is_serving))
    endpoint = MetricsEndpoint(server)
    log.info("serving metrics", address=f"{address.rpartition(':')[0]}:{endpoint.port}")
    return endpoint


@contextmanager
def metrics_served(
    address: str, collect: Callable[[], CollectorRegistry], is_serving: Callable[[], bool]
) -> Iterator[None]:
    """The same, for as long as the context; nothing for an empty address."""
    if not address:
        yield
        return
    endpoint = serve_metrics(address, collect, is_serving)
    try:
        yield
    finally:
        endpoint.close()


def _application(
    collect: Callable[[], CollectorRegistry], is_serving: Callable[[], bool]
) -> Application:
    def health(_: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        serving = is_serving()
        start("200 OK" if serving else "503 Service Unavailable", _plain())
        return [b"serving\n" if serving else b"not serving\n"]

    def metrics(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        answer: Iterable[bytes] = make_wsgi_app(collect())(environ, start)
        return answer

    def page(_: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", _plain())
        return [_PAGE]

    pages: dict[str, Application] = {"/": page, "/healthz": health, "/metrics": metrics}

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        handler = pages.get(environ["PATH_INFO"])
        if handler is None:
            start("404 Not Found", _plain())
            return [_PAGE]
        try:
            return handler(environ, start)
        except Exception:
            log.exception("metrics cannot be read")
            start("500 Internal Server Error", _plain())
            return [b"metrics cannot be read; the server's log says why\n"]

    return answer


def _plain() -> list[tuple[str, str]]:
    return [("Content-Type", "text/plain; charset=utf-8")]  # which wsgiref adds to


class _Handler(WSGIRequestHandler):
    timeout = READ_SECONDS

    def log_message(self, *args: object) -> None:
        """Scrapes are no news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_port = False

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, which can take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


def _server_at(address: str) -> WSGIServer:
    family, place = resolve(address)

    class Server(_Server):
        address_family: socket.AddressFamily = family

    return Server(place, _Handler)
