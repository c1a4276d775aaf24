"""``lmscore models``: what a server has."""

from __future__ import annotations

from collections.abc import Callable

import click
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from lmscore.client.cli.options import connection_options, json_option
from lmscore.client.cli.output import json_line, output, record_of, table_text
from lmscore.client.cli.security_options import open_client
from lmscore.client.results import ModelInfo


@click.command()
@click.option(
    "--wait",
    is_flag=True,
    help="Wait until every model answers, for as long as --timeout; fail if one cannot be loaded.",
)
@json_option
@connection_options
def models(wait: bool, as_json: bool, address: str, timeout: float) -> None:
    """List the server's models.

    The size is the order of n-grams, or the units of a network's hidden layers.

    \b
    Examples:
      lmscore models
      lmscore models --wait --timeout 120
      lmscore models --json --address scoring:50051 | jq -r .identity.fingerprint
    """
    with open_client(address, timeout) as client:
        if wait:
            client.wait_until_ready(timeout=timeout)
        found = client.list_models()
    with output() as out:
        if as_json:
            out.writelines(json_line(record_of(model)) for model in found)
        else:
            out.write(table_text(_table(found)))


def _table(found: tuple[ModelInfo, ...]) -> Table:
    table = Table("model", box=None, pad_edge=False)
    for heading in ("version", "state", "kind", "size", "vocabulary", "parameters", "memory"):
        table.add_column(heading, justify="left" if heading in {"state", "kind"} else "right")
    table.add_column("fingerprint")
    table.add_column("device")
    for heading in _optional(found):
        table.add_column(heading)
    for model in found:
        description = _description(model) if model.ready else [""] * _DESCRIBED
        name = Text(model.identity.name)  # not a string, which could hold rich's markup
        notes = [Text(_OPTIONAL[heading](model)) for heading in _optional(found)]
        table.add_row(name, str(model.identity.version), model.state, *description, *notes)
    return table


_OPTIONAL: dict[str, Callable[[ModelInfo], str]] = {
    "labels": lambda model: ", ".join(model.labels),
    "problem": lambda model: model.problem,
}
_DESCRIBED = 7  # columns


def _optional(found: tuple[ModelInfo, ...]) -> list[str]:
    """Columns that are only there if a model has something for them."""
    return [heading for heading, text in _OPTIONAL.items() if any(map(text, found))]


def _description(model: ModelInfo) -> list[str]:
    return [
        model.kind,
        _size(model),
        f"{model.vocabulary_size:,} {model.tokenizer}",
        f"{model.parameter_count:,}",
        decimal(model.memory_bytes),
        model.identity.fingerprint[:12],
        f"{model.network.device} {model.network.dtype}" if model.network else "",
    ]


def _size(model: ModelInfo) -> str:
    """The order of n-grams, the units of a network by layer."""
    if model.network:
        return "+".join(map(str, model.network.hidden_sizes))
    return str(model.ngram.order) if model.ngram else ""
