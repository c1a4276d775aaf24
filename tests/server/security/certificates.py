"""Certificates for one test, written where a server looks for them."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import trustme


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the certificate itself."""
        der = ssl.PEM_cert_to_DER_cert(self.certificate.decode())
        return hashlib.sha256(der).hexdigest()


@dataclass(frozen=True)
class Files:
    """Where the server looks."""

    certificate: Path
    key: Path

    def write(self, pair: Pair) -> None:
        self.certificate.write_bytes(pair.certificate)
        self.key.write_bytes(pair.key)

    def damage(self, name: str, content: bytes | Callable[[bytes], bytes] | None) -> Path:
        """Replace a file, with what its bytes are turned into, or remove it; gives its path."""
        path: Path = getattr(self, name)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content(path.read_bytes()) if callable(content) else content)
        return path


class Authority:
    """Signs certificates, for localhost if no names are given."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem = self._ca.cert_pem.bytes()

    def pair(self, *names: str) -> Pair:
        issued = self._ca.issue_cert(*(names or ("localhost", "127.0.0.1")))
        return Pair(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())

    def credentials(self, client: Pair | None = None) -> grpc.ChannelCredentials:
        """What a client needs to trust this authority, and to show a certificate."""
        if client is None:
            return grpc.ssl_channel_credentials(self.pem)
        return grpc.ssl_channel_credentials(self.pem, client.key, client.certificate)

    def served_digest(self, port: int) -> str:
        """SHA-256 of the certificate that a new connection is shown."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None
        return hashlib.sha256(certificate).hexdigest()
