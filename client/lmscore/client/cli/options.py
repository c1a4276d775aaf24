"""Options that several subcommands have, and the connection that they describe."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from lmscore.client.channel import checked_address
from lmscore.client.cli.security_options import open_client, security_options
from lmscore.client.client import Client
from lmscore.client.nbest import FORMATS
from lmscore.client.results import ModelIdentity

Command = Callable[..., Any]


def utf8(value: str) -> str:
    """An argument's text, which is UTF-8 whatever the locale is; a usage error otherwise."""
    try:
        value.encode()
    except UnicodeEncodeError:  # Python has kept bytes that the locale does not have
        try:
            return os.fsencode(value).decode()
        except UnicodeDecodeError:
            raise click.BadParameter(f"{value!r} is not UTF-8.") from None
    return value


def host_and_port(value: str) -> str:
    """An address of a server; a usage error for what gRPC would take for another one."""
    try:
        return checked_address(utf8(value))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def finite(value: Any) -> float:
    """A number that is neither NaN nor an infinity; a usage error otherwise."""
    try:
        number = float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number.") from None
    if not math.isfinite(number):
        raise click.BadParameter(f"{value!r} is not a finite number.")
    return number


def positive(value: Any) -> float:
    """A finite number above zero; a usage error otherwise."""
    number = finite(value)
    if number <= 0:
        raise click.BadParameter(f"{value!r} is not above 0.")
    return number


def fraction(value: Any) -> float:
    """A number from 0 to 1; a usage error otherwise."""
    number = finite(value)
    if not 0 <= number <= 1:
        raise click.BadParameter(f"{value!r} is not from 0 to 1.")
    return number


def named_weight(value: Any) -> tuple[str, float]:
    """Name and finite weight of NAME=WEIGHT; a usage error otherwise."""
    if isinstance(value, tuple):  # click converts what it has converted once again
        return value
    name, equals, weight = utf8(value).rpartition("=")
    if not name or not equals:
        raise click.BadParameter(f"{value!r} is not NAME=WEIGHT.")
    return name, finite(weight)


def weight_of_model(value: Any) -> tuple[str, float]:
    """Name and finite weight of MODEL=NUMBER, "" as the name of a bare number; or usage error."""
    if isinstance(value, tuple) or "=" in value:
        return named_weight(value)
    return "", finite(value)


source_argument = click.argument(
    "source", metavar="FILE|-", type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)


def nbest_options(command: Command) -> Command:
    """Add the argument NBEST and what has to be known of it: --format and --beam-size."""
    for option in (
        click.option(
            "--beam-size",
            type=click.IntRange(min=1),
            metavar="N",
            help="Rows a list, for NeMo's format, which has no ids.",
        ),
        click.option(
            "--format",
            "format_name",
            type=click.Choice(list(FORMATS)),
            help="What NBEST is; default: told by what it begins with.",
        ),
        click.argument("nbest", metavar="NBEST|-", type=click.Path(exists=True, allow_dash=True)),
    ):
        command = option(command)
    return command


models_option = click.option(
    "--model",
    "models",
    type=utf8,
    multiple=True,
    metavar="NAME",
    help="Model to use, or several; not needed if the server has one.",
)
model_option = click.option(
    "--model",
    type=utf8,
    default="",
    metavar="NAME[:VERSION|@LABEL]",
    help="Model to use; not needed if the server has one.",
)
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='Write JSON lines; infinities are the strings "Infinity" and "-Infinity".',
)


_address_option = click.option(
    "--address",
    type=host_and_port,
    envvar="LMSCORE_ADDRESS",
    show_envvar=True,
    default="127.0.0.1:50051",
    show_default=True,
    metavar="HOST:PORT",
    help="Server to ask.",
)


def address_option(command: Command) -> Command:
    """Add --address, and how to connect to it."""
    connected: Command = _address_option(security_options(command))
    return connected


def timeout_option(meaning: str, default: float = 30.0) -> Callable[[Command], Command]:
    """--timeout, with what it bounds."""
    return click.option(
        "--timeout",
        type=positive,
        default=default,
        show_default=True,
        metavar="SECONDS",
        help=meaning,
    )


def connection_options(command: Command) -> Command:
    """Add --address, with how to connect to it, and --timeout."""
    return address_option(timeout_option("How long to wait for each answer.")(command))


def batch_option(default: int, items: str) -> Callable[[Command], Command]:
    """--batch: how many items to send at a time."""
    return click.option(
        "--batch",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        metavar="N",
        help=f"{items} to send at a time; fewer for a server with lower limits.",
    )


@contextmanager
def connect(address: str, timeout: float, model: str) -> Iterator[Client]:
    """A client with a model: the one named, or the only one that the server has."""
    with open_client(address, timeout) as client:
        client.model = model or _only_model(client)
        yield client


@contextmanager
def connect_to(
    address: str, timeout: float, models: Sequence[str]
) -> Iterator[tuple[Client, list[ModelIdentity]]]:
    """A client, and the models of those names; without names, the only one that the server has."""
    with open_client(address, timeout) as client:
        names = models or [_only_model(client)]
        found = [client.get_model(model=name).identity for name in names]
        _refuse_same_model(names, found)
        yield client, found


def _refuse_same_model(names: Sequence[str], found: Sequence[ModelIdentity]) -> None:
    """A usage error for two versions of a model: weights and columns go by its name alone."""
    given: dict[str, str] = {}
    for name, identity in zip(names, found, strict=True):
        if identity.name in given:
            both = f"{given[identity.name]} and --model {name}"
            raise click.UsageError(f"--model {both} are the same model; choose one version of it")
        given[identity.name] = name


def _only_model(client: Client) -> str:
    names = sorted({model.identity.name for model in client.list_models()})
    if not names:
        raise click.ClickException(f"{client.address} has no models")
    if len(names) > 1:
        raise click.UsageError(
            f"choose one of the server's models with --model: {', '.join(names)}"
        )
    return names[0]
