"""``lmscore predict``: what may follow a prompt."""

from __future__ import annotations

import math

import click
from rich.table import Table
from rich.text import Text

from lmscore.client.cli.options import connect, connection_options, json_option, model_option, utf8
from lmscore.client.cli.output import (
    answered_by,
    json_line,
    output,
    record_of,
    table_text,
    visible,
)
from lmscore.client.results import ModelIdentity, Prediction


@click.command()
@click.argument("prompts", metavar="PROMPT...", nargs=-1, required=True, type=utf8)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="How many tokens to show.",
)
@click.option("--bos/--no-bos", default=True, show_default=True, help="Put <s> before the prompt.")
@model_option
@json_option
@connection_options
def predict(
    prompts: tuple[str, ...],
    top_k: int,
    bos: bool,
    model: str,
    as_json: bool,
    address: str,
    timeout: float,
) -> None:
    """Show the likeliest next tokens after each prompt; "" is the start of a text.

    The entropy tells how sure the model is: exp(entropy) equally likely tokens would be as unsure.

    \b
    Examples:
      lmscore predict "the function returns"
      lmscore predict --top-k 3 "" "in the"
      lmscore predict --json "the function" | jq '.next[0].text'
    """
    with connect(address, timeout, model) as client:
        answer = client.predict(prompts, top_k=top_k, bos=bos)
    with output() as out:
        for prompt, prediction in zip(prompts, answer, strict=True):
            out.write((_json if as_json else _table)(prompt, prediction, answer.model))


def _json(prompt: str, prediction: Prediction, model: ModelIdentity) -> str:
    return json_line({"prompt": prompt, **record_of(prediction), **answered_by(model)})


def _table(prompt: str, prediction: Prediction, _: ModelIdentity) -> str:
    table = Table("token", box=None, pad_edge=False)
    table.add_column("probability", justify="right")
    table.add_column("log-prob (nats)", justify="right")
    for token in prediction.next:
        probability = f"{math.exp(token.log_prob):.4f}"
        table.add_row(Text(visible(token.text)), probability, f"{token.log_prob:.4f}")
    return f"{prompt}\n{table_text(table)}entropy {prediction.entropy:.4f} nats\n\n"
