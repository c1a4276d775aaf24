"""From the settings to what guards the server, and to what leaves it open."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import grpc

from lmscore.server.security.access import Access
from lmscore.server.security.files import WatchedFiles
from lmscore.server.security.keys import read_keys
from lmscore.server.security.tls import TlsFiles, server_credentials
from lmscore.server.settings import Settings


def credentials_of(settings: Settings) -> grpc.ServerCredentials | None:
    """TLS, if it is asked for. Raises UnusableFileError."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    files = TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    return server_credentials(files)


def access_of(settings: Settings, processes: int = 1) -> Access:
    """Keys, if they are asked for, each with its share of the rates. Raises UnusableFileError."""
    path = settings.api_keys
    if path is None:
        return Access()
    return Access(WatchedFiles((path,), lambda: read_keys(path)), processes)


def exposures(settings: Settings) -> Iterator[str]:
    """What others than this machine's users can do that they perhaps should not."""
    if _is_loopback(settings.listen.rpartition(":")[0].strip("[]")):
        return
    if settings.tls_certificate is None:
        yield "others can read texts on their way: set tls_certificate and tls_key"
    if settings.api_keys is None and settings.tls_client_ca is None:
        yield "whoever reaches the port can use it: set api_keys, or tls_client_ca"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
