"""``lmscore tokenize``: the tokens that a model sees in every line."""

from __future__ import annotations

import click

from lmscore.client.batching import batches, text_batcher
from lmscore.client.cli.options import (
    batch_option,
    connect,
    connection_options,
    json_option,
    model_option,
    source_argument,
)
from lmscore.client.cli.output import (
    answered_by,
    complain,
    error_record,
    json_line,
    output,
    progress,
    visible,
)
from lmscore.client.errors import ItemError
from lmscore.client.results import ModelIdentity, Token
from lmscore.client.textfile import LineReader


@click.command()
@source_argument
@batch_option(1000, "Texts")
@model_option
@json_option
@connection_options
def tokenize(
    source: str, batch: int, model: str, as_json: bool, address: str, timeout: float
) -> None:
    """Split each line of a file, plain or gzipped, or of standard input, into a model's tokens.

    Writes one line a text, in order: the tokens, separated by spaces, those with blanks of their
    own in quotes; "-" for a line that cannot be split. With --json also ids, places in UTF-8 bytes,
    and whether a token is out of vocabulary.

    \b
    Examples:
      lmscore tokenize sentences.txt
      echo "the cat" | lmscore tokenize --json --model cv - | jq '.tokens[].id'
    """
    lines = LineReader(source)
    write = _json if as_json else _line
    count = failed = 0
    with (
        connect(address, timeout, model) as client,
        output() as out,
        progress(lines, out) as shown,
    ):
        for texts in batches((line.text for line in lines), text_batcher(batch)):
            answer = client.tokenize(texts)
            for text, outcome in zip(texts, answer.outcomes, strict=True):
                count += 1
                out.write(write(text, outcome, answer.model))
                if isinstance(outcome, ItemError):
                    complain(f"line {count}: {outcome.problem}")
                    failed += 1
            shown()
    if failed:
        raise click.ClickException(f"{failed} of {count} texts could not be split")


def _line(_: str, outcome: tuple[Token, ...] | ItemError, __: ModelIdentity) -> str:
    if isinstance(outcome, ItemError):
        return "-\n"
    return " ".join(visible(token.text) for token in outcome) + "\n"


def _json(text: str, outcome: tuple[Token, ...] | ItemError, model: ModelIdentity) -> str:
    tokens = error_record(outcome) if isinstance(outcome, ItemError) else {"tokens": outcome}
    return json_line({"text": text, **tokens, **answered_by(model)})
