"""The page of the commands, from the click objects that they run."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import click
from docs.reference.markdown import (
    code,
    first_sentence,
    generated_by,
    listing,
    page,
    prose,
    require_descriptions,
    table,
)

from lmscore.client.cli.app import command as client_command
from lmscore.models.commands.convert_command import command as convert_command
from lmscore.models.commands.eval_command import command as eval_command
from lmscore.models.commands.train_command import command as train_command
from lmscore.server.command import command as server_command
from lmscore.server.settings import Settings

PROGRAMS = {
    "lmscore": client_command,
    "lmscore-server": server_command,
    "lmscore-train": train_command,
    "lmscore-convert": convert_command,
    "lmscore-eval": eval_command,
}
_SHARED_FROM = 5  # commands with the same option, from which on it is listed once
_INTRODUCTION = """\
What `--help` of each says, in one place. `lmscore` asks a server and comes with `lmscore[cli]`; the
others come with `lmscore[server]` and need none that runs. All of them take `--help`."""
_SERVER_NOTE = (
    "Every [setting](settings.md) is an option as well: `max_texts` is `--max-texts`. Besides:"
)


@dataclass(frozen=True)
class Option:
    """What there is to say of an option, wherever it stands."""

    usage: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Command:
    """A command as it is typed, or a group of them."""

    name: str
    context: click.Context

    @property
    def options(self) -> list[Option]:
        """Its own, without --help, and of the server without the settings."""
        return [
            _option(parameter, self.context)
            for parameter in self.context.command.params
            if isinstance(parameter, click.Option)
            and not (self.name == "lmscore-server" and parameter.name in Settings.model_fields)
        ]


def build() -> str:
    """The whole page; UndescribedError if an option or a command has no description."""
    commands = [command for name in PROGRAMS for command in _walk(PROGRAMS[name], name, None)]
    require_descriptions(
        "commands", ((each.name, each.context.command.help or "") for each in commands)
    )
    require_descriptions(
        "options",
        ((f"{each.name} {o.usage}", o.meaning) for each in commands for o in each.options),
    )
    counts = Counter(option for each in commands for option in each.options)
    shared = [option for option, count in counts.items() if count >= _SHARED_FROM]
    parts = [
        "# Commands",
        generated_by("the commands themselves"),
        _INTRODUCTION,
        _contents(commands),
        "## Options of several commands",
        "Commands that ask a server have these; each says which of them it takes.",
        _options(shared),
    ]
    return page([*parts, *(part for each in commands for part in _section(each, shared))])


def _walk(command: click.Command, name: str, parent: click.Context | None) -> Iterator[Command]:
    """The command, then those that it has, by name."""
    word = name.rpartition(" ")[2]
    context = click.Context(command, info_name=word, parent=parent, **command.context_settings)
    yield Command(name, context)
    if isinstance(command, click.Group):
        for each in sorted(command.commands):
            yield from _walk(command.commands[each], f"{name} {each}", context)


def _contents(commands: list[Command]) -> str:
    taken: Counter[str] = Counter()
    rows = []
    for each in commands:
        anchor = each.name.replace(" ", "-")
        number = f"-{taken[anchor]}" if taken[anchor] else ""  # as GitHub tells equal ones apart
        taken[anchor] += 1
        paragraph = inspect.cleandoc(each.context.command.help or "").partition("\n\n")[0]
        rows.append([f"[{code(each.name)}](#{anchor}{number})", first_sentence(paragraph)])
    return table(["command", "does"], rows)


def _section(command: Command, shared: list[Option]) -> Iterator[str]:
    inner = command.context.command
    pieces = inner.collect_usage_pieces(command.context)
    yield f"## {command.name}"
    yield listing(" ".join([command.name, *pieces]))
    yield from _help(inner.help or "")
    own = [option for option in command.options if option not in shared]
    if command.name == "lmscore-server":
        yield _SERVER_NOTE
    if own:
        yield _options(own)
    if common := [option for option in command.options if option in shared]:
        names = ", ".join(code(option.usage.split()[0].rstrip(",")) for option in common)
        yield f"As [several commands](#options-of-several-commands) do: {names}."


def _help(text: str) -> Iterator[str]:
    """Paragraphs; those that click is told not to fill keep their lines."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        head, marked, rest = paragraph.partition("\b\n")
        if not marked:
            yield prose(head)
            continue
        title, _, lines = rest.partition("\n") if _is_title(rest) else ("", "", rest)
        yield prose(title)
        yield listing(inspect.cleandoc(lines))


def _is_title(lines: str) -> bool:
    return lines.partition("\n")[0].endswith(":")


def _options(options: list[Option]) -> str:
    rows = ([code(each.usage), each.default, prose(each.meaning)] for each in options)
    return table(["option", "default", "meaning"], rows)


def _option(option: click.Option, context: click.Context) -> Option:
    record = option.get_help_record(context)
    extra = option.get_help_extra(context)
    default = code(extra["default"]) if "default" in extra else ""
    if "envvars" in extra:
        default += f" or {' '.join(map(code, extra['envvars']))}"
    limits = [f"({extra['range']})"] if "range" in extra else []
    told = "several" in (option.help or "")
    repeated = ["Can be given several times."] if option.multiple and not told else []
    meaning = " ".join([option.help or "", *limits, *repeated]) if option.help else ""
    return Option(record[0] if record else option.opts[0], default, meaning)
