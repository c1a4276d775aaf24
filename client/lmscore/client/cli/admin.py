"""``lmscore admin``: which versions a server has loaded, and what their labels are."""

from __future__ import annotations

from collections.abc import Callable

import click

from lmscore.client.cli.options import address_option, timeout_option, utf8
from lmscore.client.cli.output import note
from lmscore.client.cli.security_options import open_admin_client
from lmscore.client.results import ModelInfo

_Command = Callable[..., None]


@click.group(no_args_is_help=False)
def admin() -> None:
    """Load, unload and label versions of a server's repository.

    The address is that of the server's --admin setting. Other servers of the same repository do the
    same a moment later.

    \b
    Examples:
      lmscore admin load news 4 --address 127.0.0.1:50052
      lmscore admin label news 4 stable
      lmscore admin label news none canary
      lmscore admin unload news 5
    """


def _connection(command: _Command) -> _Command:
    waits = timeout_option("How long to wait until it is done; it goes on after that.", 600.0)
    return address_option(waits(command))


def _version_or_none(_context: object, _parameter: object, value: str) -> int | None:
    """A version's number; None for the word none."""
    if value == "none":
        return None
    if not (value.isascii() and value.isdigit() and int(value)):
        raise click.BadParameter(f"{value!r} is neither a version nor none.")
    return int(value)


_name = click.argument("name", type=utf8)
_version = click.argument("version", type=click.IntRange(min=1))


@admin.command()
@_name
@_version
@_connection
def load(name: str, version: int, address: str, timeout: float) -> None:
    """Load a version, and keep it loaded beside newer ones."""
    with open_admin_client(address, timeout) as client:
        _tell(client.load_model(name, version))


@admin.command()
@_name
@_version
@click.option(
    "--force", is_flag=True, help="Even if a label names it, or if no other version answers."
)
@_connection
def unload(name: str, version: int, force: bool, address: str, timeout: float) -> None:
    """Give a version to no further calls; another one answers in its place."""
    with open_admin_client(address, timeout) as client:
        _tell(client.unload_model(name, version, force=force))


@admin.command()
@_name
@click.argument("version", metavar="VERSION|none", callback=_version_or_none)
@click.argument("label", type=utf8)
@_connection
def label(name: str, version: int | None, label: str, address: str, timeout: float) -> None:
    """Let a label name a version, which is loaded first, or none any more."""
    with open_admin_client(address, timeout) as client:
        labelled = client.set_label(name, label, version)
    if labelled is not None:
        _tell(labelled)
    else:
        note(f"{name}: no version is {label} any more")


def _tell(model: ModelInfo) -> None:
    labels = f", {', '.join(model.labels)}" if model.labels else ""
    note(f"{model.identity.name} version {model.identity.version}: {model.state}{labels}")
