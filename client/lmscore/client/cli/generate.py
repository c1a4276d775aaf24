"""``lmscore generate``: continues a prompt, as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any, cast

import click

from lmscore.client.cli.generated import JsonWriter, TextWriter, Writer, counted
from lmscore.client.cli.options import (
    address_option,
    connect,
    finite,
    fraction,
    json_option,
    model_option,
    positive,
    timeout_option,
    utf8,
)
from lmscore.client.cli.output import output
from lmscore.client.generation import GeneratedToken, GenerationEvent
from lmscore.client.requests import Beam, GenerateSettings, Greedy, Sampling, Strategy
from lmscore.client.textfile import STDIN, LineReader

_SAMPLING = ("temperature", "top_k", "top_p", "min_p")
_PASSED_ON = (
    "max_tokens",
    "min_tokens",
    "stop",
    "seed",
    "repetition_penalty",
    "alternatives",
    "bos",
)


def _temperature(value: Any) -> float:
    """A number above zero; a usage error that says what others mean by zero."""
    if finite(value) == 0:
        raise click.BadParameter("0 is the likeliest token each time: leave out all that samples.")
    return positive(value)


@click.command()
@click.argument("prompt", metavar="PROMPT|-", type=utf8)
@click.option("--num", type=click.IntRange(min=1), default=1, metavar="N", help="Texts to write.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="End a text after so many tokens; 128 if not given.",
)
@click.option(
    "--min-tokens",
    type=click.IntRange(min=0),
    metavar="N",
    help="Let nothing else end a text before so many tokens.",
)
@click.option(
    "--stop",
    type=utf8,
    multiple=True,
    metavar="TEXT",
    help="End a text before this; may be given several times.",
)
@click.option(
    "--temperature",
    type=_temperature,
    metavar="X",
    help="Sample; below 1 likely tokens become likelier, above 1 less likely.",
)
@click.option(
    "--top-k", type=click.IntRange(min=0), metavar="N", help="Sample among the N likeliest tokens."
)
@click.option(
    "--top-p",
    type=fraction,
    metavar="P",
    help="Sample among the likeliest tokens that together have this probability.",
)
@click.option(
    "--min-p",
    type=fraction,
    metavar="P",
    help="Sample among tokens at least P times as likely as the likeliest.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Sample with these random numbers: the same seed writes the same text.",
)
@click.option(
    "--beam", type=click.IntRange(min=1), metavar="WIDTH", help="Search, with WIDTH candidates."
)
@click.option(
    "--length-penalty",
    type=finite,
    metavar="X",
    help="Rank what --beam finds by log-prob / tokens^X; 0 if not given.",
)
@click.option(
    "--repetition-penalty",
    type=positive,
    metavar="X",
    help="Above 1, make tokens less likely that were there before.",
)
@click.option("--tokens", is_flag=True, help="Show every token of a text after it.")
@click.option(
    "--alternatives",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show every token, with the N likeliest in its place.",
)
@click.option("--bos/--no-bos", default=True, show_default=True, help="Put <s> before the prompt.")
@click.option(
    "--echo/--no-echo", default=True, show_default=True, help="Write the prompt before each text."
)
@model_option
@json_option
@address_option
@timeout_option("How long all of it may take.")
def generate(
    prompt: str,
    tokens: bool,
    echo: bool,
    model: str,
    as_json: bool,
    address: str,
    timeout: float,
    **options: Any,
) -> None:
    """Continue a prompt, and show the text as it comes; "" is the start of a text.

    The likeliest token is chosen each time, which soon repeats itself with n-grams. With any of
    --temperature, --top-k, --top-p, --min-p and --seed, or several texts, tokens are drawn at
    random instead; standard error tells the seed that gives the same text again. --beam searches
    for the likeliest texts, and --num says how many of them to write.

    With - the prompt is standard input, without its last line end. Ctrl-C ends the generation on
    the server too.

    \b
    Examples:
      lmscore generate "the function returns"
      lmscore generate --temperature 0.8 --seed 7 --max-tokens 40 "the "
      lmscore generate --num 3 --top-p 0.9 --stop . "in the"
      lmscore generate --beam 8 --num 2 --length-penalty 1 "the function"
      lmscore generate --json --alternatives 3 "the" | jq -r 'select(.event == "token").token'
    """
    settings = _settings(options)
    text = _standard_input() if prompt == STDIN else prompt
    with connect(address, timeout, model) as client, output() as out:
        writer: Writer = JsonWriter(out, text)
        if not as_json:
            detailed = tokens or bool(options["alternatives"])
            writer = TextWriter(out, text if echo else "", detailed, settings)
        with closing(client.generate(text, **settings)) as events:
            _write(events, writer)


def _standard_input() -> str:
    return "\n".join(line.text for line in LineReader(STDIN))


def _settings(options: Mapping[str, Any]) -> GenerateSettings:
    """What is asked of the server; a usage error for options that exclude each other."""
    given = {name: value for name, value in options.items() if value is not None}
    asked = {name: given[name] for name in _PASSED_ON if name in given}
    if "beam" not in given:
        asked["num_sequences"] = given["num"]
    return cast(GenerateSettings, {"strategy": _strategy(given), **asked})


def _strategy(given: Mapping[str, Any]) -> Strategy:
    num: int = given["num"]
    sampling = {name: given[name] for name in _SAMPLING if name in given}
    if "beam" in given:
        for name in (*_SAMPLING, "seed", "alternatives"):
            if name in given:
                raise click.UsageError(f"--beam and {_option(name)} exclude each other")
        if num > given["beam"]:
            raise click.UsageError(f"--num {num} is more than --beam {given['beam']} can find")
        return Beam(given["beam"], given.get("length_penalty", 0.0), num)
    if "length_penalty" in given:
        raise click.UsageError("--length-penalty is of no use without --beam")
    if sampling or "seed" in given or num > 1:
        return Sampling(**sampling)
    return Greedy()


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _write(events: Iterable[GenerationEvent], writer: Writer) -> None:
    """Write the events; Abort, which says how far it came, if a user interrupts it."""
    count = 0
    try:
        for event in events:
            count += isinstance(event, GeneratedToken)
            writer.write(event)
    except KeyboardInterrupt:
        click.echo(err=True)  # ends the line of the terminal's ^C
        raise click.Abort(f"cancelled after {counted(count)}") from None
    finally:
        writer.close()
