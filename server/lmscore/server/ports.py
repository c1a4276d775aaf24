"""The address that a server listens on: whether it is free, and kept for several processes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from lmscore.server.stages import StartError


class Sharing(Enum):
    """Who else listens on the port of a process, and since when it does itself."""

    NONE = "none"
    """Nobody; a port that anybody has is refused."""

    AT_ONCE = "at once"
    """The other processes of the same server; callers may come before the models are loaded."""

    WHEN_LOADED = "when loaded"
    """The same, but callers come when it can answer, because others do meanwhile."""


def check_free(address: str) -> None:
    """Raise StartError if another process has the port."""
    # gRPC says only that it failed; the system says why.
    family, place = resolve(address)
    try:
        _bound(family, place, socket.SO_REUSEADDR).close()
    except OSError as error:
        raise cannot_listen(address, error) from None


@contextmanager
def reserved(address: str) -> Iterator[int]:
    """Keep a port for processes of this user that share it; gives its number.

    Raises StartError if another server has the port, even one whose processes would share theirs.
    """
    family, place = resolve(address)
    try:
        keeper = _bound_alone(family, place)
    except OSError as error:
        raise cannot_listen(address, error) from None
    with keeper:
        # Only now, or another server that shares its port could take the same one.
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield keeper.getsockname()[1]


def resolve(address: str) -> tuple[socket.AddressFamily, Any]:
    """The family of an address and what to bind there. Raises StartError."""
    host, _, port = address.rpartition(":")
    try:
        [(family, _, _, _, place), *_] = socket.getaddrinfo(
            host.strip("[]") or "::", int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise cannot_listen(address, error) from None
    return family, place


def cannot_listen(address: str, error: Exception) -> StartError:
    """Says why nothing can listen there."""
    reason = getattr(error, "strerror", None) or error
    return StartError(f"cannot listen on {address}: {reason}")


def _bound_alone(family: socket.AddressFamily, place: Any) -> socket.socket:
    """A socket that shares its place with none, except connections of a server that has ended."""
    try:
        return _bound(family, place)
    except OSError:
        return _bound(family, place, socket.SO_REUSEADDR)


def _bound(family: socket.AddressFamily, place: Any, *options: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(place)
    except OSError:
        bound.close()
        raise
    return bound
