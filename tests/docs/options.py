"""Whether a command that cannot be tried could be typed: its syntax, its options, its files."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator

import click

from lmscore.client.cli.app import command as lmscore
from lmscore.models.commands.convert_command import command as convert
from lmscore.models.commands.eval_command import command as evaluate
from lmscore.models.commands.train_command import command as train
from lmscore.server.command import command as server
from tests.docs.markdown import ROOT

PROGRAMS: dict[str, click.Command] = {
    "lmscore": lmscore,
    "lmscore-convert": convert,
    "lmscore-eval": evaluate,
    "lmscore-server": server,
    "lmscore-train": train,
}
_BETWEEN = {"|", "||", "&&", ";", "&", "(", ")", "\n"}


def problems(text: str) -> list[str]:
    """What is wrong with a command for the shell."""
    checked = subprocess.run(
        ["bash", "-n"], input=text, capture_output=True, text=True, check=False
    )
    if checked.returncode:
        return [checked.stderr.strip()]
    return [problem for words in _simple(text) for problem in _wrong(words)]


def _simple(text: str) -> Iterator[list[str]]:
    """The words of each command between pipes and the like, without variables set for it."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars="|&;()\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in _BETWEEN:
            while words and re.match(r"\w+=", words[0]):
                words = words[1:]
            if words:
                yield words
            words = []
        else:
            words.append(word)


def _wrong(words: list[str]) -> list[str]:
    match words:
        case [name, *rest] if name in PROGRAMS:
            return list(_unknown(name, PROGRAMS[name], rest))
        case ["make", *verbs]:
            makefile = (ROOT / "Makefile").read_text()
            named = [verb for verb in verbs if verb.islower() and "=" not in verb]
            return [
                f"make has no {v}"
                for v in named
                if not re.search(rf"^{v}:", makefile, re.MULTILINE)
            ]
        case ["python" | "python3", "-m", module, *_] if module.split(".")[0] in _OURS:
            there = (ROOT / module.replace(".", "/")).with_suffix(".py").exists()
            folder = (ROOT / module.replace(".", "/") / "__main__.py").exists()
            return [] if there or folder else [f"there is no module {module}"]
        case ["python" | "python3", file, *_] if file.split("/")[0] in _OURS:
            return [] if (ROOT / file).exists() else [f"there is no {file}"]
        case _:
            return []


_OURS = {"benchmarks", "tests", "deploy", "checkpoints"}


def _unknown(name: str, command: click.Command, rest: list[str]) -> Iterator[str]:
    """Subcommands and options that the program does not have."""
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.commands.get(rest[0])
        if found is None:
            yield f"{name} has no {rest[0]}"
            return
        name, command, rest = f"{name} {rest[0]}", found, rest[1:]
    known = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)}
    known |= {"-h", "--help"}
    for word in rest:
        if word == "--":
            return
        flag = word.partition("=")[0]
        if re.match(r"--?[a-z]", flag) and flag not in known:
            yield f"{name} has no option {flag}"
