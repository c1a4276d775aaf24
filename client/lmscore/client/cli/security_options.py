"""Options for encrypted connections, API keys and priorities; on every subcommand that connects."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, TypeVar

import click

from lmscore.client.admin import AdminClient
from lmscore.client.cli.output import complain
from lmscore.client.client import Client
from lmscore.client.credentials import API_KEY_VARIABLE, TlsSettings

_AnyClient = TypeVar("_AnyClient", bound=Client)

_META = "lmscore.client.cli.security"
"""Where click's context keeps the values, which thus need no place in every subcommand."""


def _keep(context: click.Context, option: click.Parameter, value: Any) -> Any:
    if value:
        context.meta.setdefault(_META, {})[option.name] = value
    return value


def _file_option(flag: str, help_text: str) -> Any:
    return click.option(
        flag,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_keep,
        help=help_text,
    )


_OPTIONS = (
    click.option(
        "--tls",
        is_flag=True,
        expose_value=False,
        callback=_keep,
        help="Encrypt the connection; the options below imply it.",
    ),
    _file_option("--tls-ca", "PEM file of the authorities to trust, instead of gRPC's."),
    _file_option("--tls-cert", "PEM file of a certificate to show to the server."),
    _file_option("--tls-key", "PEM file of the key of --tls-cert."),
    click.option(
        "--tls-server-name",
        metavar="NAME",
        expose_value=False,
        callback=_keep,
        help="Name in the server's certificate, if it is not that of --address.",
    ),
    _file_option(
        "--api-key-file",
        f"File of the API key; {API_KEY_VARIABLE} holds the key itself. No option does: other "
        "users of a machine can see command lines.",
    ),
    click.option(
        "--priority",
        type=click.Choice(["interactive", "bulk"]),
        expose_value=False,
        callback=_keep,
        help="Which other calls these go before; the server's choice if not given.",
    ),
)


def security_options(command: Any) -> Any:
    """Add the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def open_client(address: str, timeout: float) -> Client:
    """A client as the options of the running subcommand describe it."""
    return _opened(Client, address, timeout)


def open_admin_client(address: str, timeout: float) -> AdminClient:
    """The same of a server's admin address."""
    return _opened(AdminClient, address, timeout)


def _opened(kind: type[_AnyClient], address: str, timeout: float) -> _AnyClient:
    given = click.get_current_context().meta.get(_META, {})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        client = kind(
            address,
            timeout=timeout,
            tls=_tls(given),
            api_key=_api_key(given.get("api_key_file")),
            priority=given.get("priority"),
        )
    for warning in warned:
        complain(str(warning.message))
    return client


def _tls(given: dict[str, Any]) -> TlsSettings | None:
    if not any(name.startswith("tls") for name in given):
        return None
    if ("tls_cert" in given) != ("tls_key" in given):
        raise click.UsageError("--tls-cert and --tls-key need each other")
    return TlsSettings(
        given.get("tls_ca"),
        given.get("tls_cert"),
        given.get("tls_key"),
        given.get("tls_server_name", ""),
    )


def _api_key(path: Path | None) -> str | None:
    if path is None:
        return None
    key = path.read_text(encoding="utf-8", errors="replace").strip()
    if not key:
        raise click.UsageError(f"--api-key-file {path} is empty")
    return key
