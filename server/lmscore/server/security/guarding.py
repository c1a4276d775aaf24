"""From the settings to what guards the server."""

from __future__ import annotations

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
