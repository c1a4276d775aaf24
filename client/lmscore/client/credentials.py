"""How a client proves who it is, and makes sure whom it talks to."""

from __future__ import annotations

import ipaddress
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import grpc

API_KEY_VARIABLE = "LMSCORE_API_KEY"
"""Environment variable of the key, for clients that are given none."""

Metadata: TypeAlias = tuple[tuple[str, str], ...]
Priority: TypeAlias = Literal["interactive", "bulk"]


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """An encrypted connection. As it is, it trusts the authorities that gRPC comes with.

    The files are PEM, and read when a client is made.
    """

    ca: str | Path | None = None
    """Certificates of the authorities to trust instead."""
    certificate: str | Path | None = None
    """The client's own certificate, for servers that want one."""
    key: str | Path | None = None
    """Its key."""
    server_name: str = ""
    """Name that the server's certificate has to have, where it is not that of the address."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key need each other")

    def credentials(self) -> grpc.ChannelCredentials:
        """What gRPC calls this. Raises OSError for a file that cannot be read."""
        return grpc.ssl_channel_credentials(
            _read(self.ca), _read(self.key), _read(self.certificate)
        )

    def options(self) -> list[tuple[str, Any]]:
        """What is to be said to the channel besides."""
        return [("grpc.ssl_target_name_override", self.server_name)] if self.server_name else []


def _read(path: str | Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def credentials_and_options(
    credentials: grpc.ChannelCredentials | None, tls: TlsSettings | None
) -> tuple[grpc.ChannelCredentials | None, list[tuple[str, Any]]]:
    """What encrypts a channel, if anything does, and the channel's arguments for it."""
    if tls is None:
        return credentials, []
    if credentials is not None:
        raise ValueError("credentials and tls exclude each other")
    return tls.credentials(), tls.options()


def call_metadata(
    address: str, api_key: str | None, priority: Priority | None, *, encrypted: bool
) -> Metadata:
    """What goes with every call; warns of a key that others could read on its way."""
    key = os.environ.get(API_KEY_VARIABLE, "") if api_key is None else api_key
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError("api_key: it has characters that no key has")  # and is not repeated here
    if key and not encrypted and not is_local(address):
        warnings.warn(f"the API key goes to {address} unencrypted: it needs TLS", stacklevel=3)
    metadata: list[tuple[str, str]] = []
    if key:
        metadata.append(("authorization", f"Bearer {key}"))
    if priority is not None:
        metadata.append(("lmscore-priority", priority))
    return tuple(metadata)


def is_local(address: str) -> bool:
    """Whether what is sent there stays on this machine."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition("/")[2].rpartition(":")[0].strip("[]")
    host = host.removeprefix("ipv4:").removeprefix("ipv6:").removeprefix("dns:").strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
