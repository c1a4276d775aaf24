"""TLS from PEM files, which are read again for new connections when they have been renewed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import grpc

from lmscore.server.security.files import UnusableFileError, WatchedFiles, read_bytes


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the server's certificate is, and what clients have to show."""

    certificate: Path  # with the intermediate ones after it
    key: Path
    client_ca: Path | None = None  # if given, only clients with a certificate of it may connect

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.certificate, self.key, *([self.client_ca] if self.client_ca else []))


@dataclass(frozen=True, slots=True)
class Material:
    """What the files hold, in PEM."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files. Raises UnusableFileError."""
    # The files are looked at for every connection, however soon one follows another: a client
    # that connects after a renewal gets the new certificate.
    watched = WatchedFiles(files.paths, lambda: read_material(files), interval_seconds=0)
    material = watched.value()

    def renewed() -> grpc.ServerCertificateConfiguration:
        return _configuration(watched.value())

    return grpc.dynamic_ssl_server_credentials(
        _configuration(material), renewed, require_client_authentication=bool(files.client_ca)
    )


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    pair = (material.key, material.certificate)
    return grpc.ssl_server_certificate_configuration([pair], material.client_ca)


def read_material(files: TlsFiles) -> Material:
    """The files' contents, checked as far as can be. Raises UnusableFileError."""
    certificate = read_bytes(files.certificate)
    key = read_bytes(files.key)
    client_ca = read_bytes(files.client_ca) if files.client_ca else None
    _check_certificates(files.certificate, certificate)
    _check_pair(files)
    if files.client_ca and client_ca is not None:
        _check_certificates(files.client_ca, client_ca)
    if (certificate, key) != (read_bytes(files.certificate), read_bytes(files.key)):
        raise UnusableFileError(files.certificate, "it is being written")
    return Material(certificate, key, client_ca)


def _check_certificates(path: Path, data: bytes) -> None:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=data.decode("ascii", errors="ignore"))
    except (ssl.SSLError, ValueError):
        raise UnusableFileError(path, "it holds no certificate in PEM") from None


def _check_pair(files: TlsFiles) -> None:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key, password=_refuse_password)
    except _EncryptedError:
        problem = "it is encrypted with a password; the server needs it without"
        raise UnusableFileError(files.key, problem) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"this key does not belong to the certificate in {files.certificate}"
        elif b"PRIVATE KEY-----" not in read_bytes(files.key):
            problem = "it holds no private key in PEM"
        else:
            problem = f"it cannot be used with {files.certificate} ({error.reason or error})"
        raise UnusableFileError(files.key, problem) from None
    except OSError as error:  # gone since it was read
        raise UnusableFileError(files.key, error.strerror or str(error)) from None


class _EncryptedError(Exception):
    pass


def _refuse_password() -> NoReturn:
    raise _EncryptedError
