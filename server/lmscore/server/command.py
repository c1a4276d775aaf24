"""The ``lmscore-server`` command.

What serves is imported once the settings are known to do: gRPC and the compiler of the n-gram loops
take more than a second, which no wrong flag, ``--help`` or ``--print-config`` need wait for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmscore.server.doubts import doubts
from lmscore.server.settings import Settings
from lmscore.server.settings_sources import (
    ENVIRONMENT_PREFIX,
    ConfigurationError,
    format_settings,
    load_settings,
)
from lmscore.server.stages import StartError

if TYPE_CHECKING:
    from lmscore.models.language_model import ModelDescription

FAILURE, USAGE = 1, 2  # exit codes

_HELP = f"""Serve language models over gRPC.

A flag beats an environment variable ({ENVIRONMENT_PREFIX} and the flag's name in capitals, for
example {ENVIRONMENT_PREFIX}LISTEN), which beats the --config file, which beats the default.

\b
Examples:
  lmscore-server --model news=news.arpa.gz
  lmscore-server --model a=a.arpa,b=b.arpa --listen 0.0.0.0:50051
  lmscore-server --model lstm=checkpoints/lstm --device cuda:0
  lmscore-server --model news=news.ngram --processes 4 --metrics 127.0.0.1:9464
  lmscore-server --repository models --admin 127.0.0.1:50052
  lmscore-server --config lmscore.toml --print-config
  lmscore-server --model news=news.arpa --dry-run
  lmscore-server --new-key asr-team >> keys.toml
"""


def _setting_options() -> list[click.Parameter]:
    """An option for every setting; whether its value will do is for Settings to say."""
    options: list[click.Parameter] = []
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        shown = "" if field.default in {(), "", None} else f"  [default: {field.default}]"
        repeatable = field.default == ()
        help_text = f"{field.description}{shown}"
        options.append(click.Option([flag, name], help=help_text, multiple=repeatable))
    return options


def _run(
    config: Path | None,
    print_config: bool,
    dry_run: bool,
    new_key: str | None,
    **flags: str | tuple[str, ...] | None,
) -> None:
    if new_key is not None:
        _make_key(new_key)
        return
    given = {
        name: ",".join(value) if isinstance(value, tuple) else value
        for name, value in flags.items()
        if value not in (None, ())  # an empty one is a value, which beats the other sources
    }
    try:
        settings, origins = load_settings(given, config)
    except ConfigurationError as error:
        _fail(error, USAGE)
    doubtful = list(doubts(settings, os.environ, ENVIRONMENT_PREFIX))
    if print_config:
        for doubt in doubtful:
            click.echo(f"lmscore-server: warning: {doubt}", err=True)
        click.echo(format_settings(settings, origins))
        return
    if not settings.model and not settings.repository:
        _fail("no model to serve: give --model NAME=PATH, or --repository DIR", USAGE)
    _start(settings, doubtful, dry_run=dry_run)


def _start(settings: Settings, doubtful: Sequence[str], *, dry_run: bool) -> None:
    import structlog

    from lmscore.models.errors import ModelError
    from lmscore.server.logs import configure_logs

    configure_logs(settings.log_format, show_texts=settings.log_texts == "on")
    for doubt in doubtful:
        structlog.get_logger().warning("no effect", problem=doubt)
    try:
        if dry_run:
            _dry_run(settings)
        else:
            _serve(settings)
    except (StartError, ModelError) as error:
        _fail(error, FAILURE)


def _make_key(name: str) -> None:
    from lmscore.server.security.keys import new_key as make_key

    try:
        key, lines = make_key(name)
    except ValueError as error:
        _fail(error, USAGE)
    # Apart from the lines, so that these can go straight into a file without it.
    click.echo(f"The key {name}, which is shown this once:\n{key}", err=True)
    click.echo(lines, nl=False)


def _serve(settings: Settings) -> None:
    import asyncio

    import structlog

    from lmscore.server.security.exposure import exposures

    for exposure in exposures(settings):
        structlog.get_logger().warning("exposed", listen=settings.listen, problem=exposure)
    # A supervisor does without what its workers need to compute.
    if settings.processes > 1:
        from lmscore.server.supervisor import supervise

        asyncio.run(supervise(settings))
    else:
        from lmscore.server.single import serve_alone

        asyncio.run(serve_alone(settings))


def _dry_run(settings: Settings) -> None:
    from lmscore.models.language_model import ScoreBatch, Texts
    from lmscore.models.loading import GOLDEN_SENTENCE
    from lmscore.server.model_loading import load, placement_of
    from lmscore.server.rollout.building import newest_versions

    placement = placement_of(settings)
    for source in (*settings.model, *newest_versions(settings)):
        model = load(source, placement).model
        [log_prob] = model.score(ScoreBatch(Texts.from_strings([GOLDEN_SENTENCE]))).log_probs
        made_of = _made_of(model.description)
        click.echo(f"{source.name}: {made_of}; '{GOLDEN_SENTENCE}' has {log_prob:.4f} nats")


def _made_of(description: ModelDescription) -> str:
    from lmscore.models.language_model import NetworkDescription

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
        click.Option(
            ["--new-key"],
            metavar="NAME",
            help="Make an API key, show it and what to add to the --api-keys file, and exit",
        ),
    ],
)
click.version_option(package_name="lmscore", message="%(prog)s %(version)s")(command)
