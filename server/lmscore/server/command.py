"""The ``lmscore-server`` command."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from lmscore.models.errors import ModelError
from lmscore.models.language_model import ModelDescription, NetworkDescription, ScoreBatch, Texts
from lmscore.models.loading import GOLDEN_SENTENCE
from lmscore.server.errors import StartError
from lmscore.server.lifecycle import placement_of, serve
from lmscore.server.logs import configure_logs
from lmscore.server.model_loading import load
from lmscore.server.rollout.building import newest_versions
from lmscore.server.settings import (
    ENVIRONMENT_PREFIX,
    ConfigurationError,
    Settings,
    format_settings,
    load_settings,
)

FAILURE, USAGE = 1, 2  # exit codes

_HELP = f"""Serve language models over gRPC.

A flag beats an environment variable ({ENVIRONMENT_PREFIX} and the flag's name in capitals, for
example {ENVIRONMENT_PREFIX}LISTEN), which beats the --config file, which beats the default.

\b
Examples:
  lmscore-server --model news=news.arpa.gz
  lmscore-server --model a=a.arpa,b=b.arpa --listen 0.0.0.0:50051
  lmscore-server --model lstm=checkpoints/lstm --device cuda:0
  lmscore-server --repository models --admin 127.0.0.1:50052
  lmscore-server --config lmscore.toml --print-config
  lmscore-server --model news=news.arpa --dry-run
"""


def _setting_options() -> list[click.Parameter]:
    """An option for every setting; whether its value will do is for Settings to say."""
    options: list[click.Parameter] = []
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        shown = "" if field.default in {(), ""} else f"  [default: {field.default}]"
        repeatable = field.default == ()
        help_text = f"{field.description}{shown}"
        options.append(click.Option([flag, name], help=help_text, multiple=repeatable))
    return options


def _run(
    config: Path | None, print_config: bool, dry_run: bool, **flags: str | tuple[str, ...] | None
) -> None:
    given = {
        name: ",".join(value) if isinstance(value, tuple) else value
        for name, value in flags.items()
        if value
    }
    try:
        settings, origins = load_settings(given, config)
    except ConfigurationError as error:
        _fail(error, USAGE)
    if print_config:
        click.echo(format_settings(settings, origins))
        return
    configure_logs(settings.log_format)
    if not settings.model and not settings.repository:
        _fail("no model to serve: give --model NAME=PATH, or --repository DIR", USAGE)
    try:
        if dry_run:
            _dry_run(settings)
        else:
            asyncio.run(serve(settings))
    except (StartError, ModelError) as error:
        _fail(error, FAILURE)


def _dry_run(settings: Settings) -> None:
    placement = placement_of(settings)
    for source in (*settings.model, *newest_versions(settings)):
        model = load(source, placement).model
        [log_prob] = model.score(ScoreBatch(Texts.from_strings([GOLDEN_SENTENCE]))).log_probs
        made_of = _made_of(model.description)
        click.echo(f"{source.name}: {made_of}; '{GOLDEN_SENTENCE}' has {log_prob:.4f} nats")


def _made_of(description: ModelDescription) -> str:
    size, structure = description.vocabulary_size, description.structure
    if not isinstance(structure, NetworkDescription):
        return f"{description.kind}, {size} tokens"
    layers = "+".join(map(str, structure.hidden_sizes))
    return (
        f"{description.kind} of {layers} units, {size} {description.tokenizer}, "
        f"on {structure.device} in {structure.dtype}"
    )


def _fail(problem: object, code: int) -> Any:
    click.echo(f"lmscore-server: {problem}", err=True)
    sys.exit(code)


command = click.Command(
    "lmscore-server",
    callback=_run,
    help=_HELP,
    params=[
        *_setting_options(),
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            help="TOML file with any of the settings above (max_texts = 100 and so on)",
        ),
        click.Option(
            ["--print-config"],
            is_flag=True,
            help="Show every setting and where it came from, as TOML, and exit",
        ),
        click.Option(
            ["--dry-run"], is_flag=True, help="Load the models, score one line with each, and exit"
        ),
    ],
)
