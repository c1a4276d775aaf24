"""What of the pages cannot be run says why, and could be typed; their data can be read."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from itertools import pairwise

import pytest
from ruamel.yaml import YAML

from tests.docs.markdown import SHELL, Block, blocks, pages, place
from tests.docs.options import PROGRAMS, problems
from tests.docs.programs import entry_points

LANGUAGES = {*SHELL, "python", "js", "json", "jsonl", "yaml", "toml", "text", "proto", "ini"}
ALL = [block for page in pages() for block in blocks(page)]
RUNNABLE = [block for block in ALL if block.language in SHELL | {"python"}]
INLINE = re.compile(r"(?<!`)`((?:lmscore(?:-\w+)?|make|python) [^`\n]+)`(?!`)")


def in_(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


def test_every_block_names_its_language() -> None:
    assert [block.place for block in ALL if block.language not in LANGUAGES] == []


def test_no_code_is_only_indented() -> None:
    """It would not be tried."""
    indented = [
        place(page, number)
        for page in pages()
        for number, (before, line) in enumerate(pairwise(["", *page.read_text().splitlines()]), 1)
        if before == "" and re.match(r"    +(?:\$ )?[a-z][\w-]* [-\w]", line)
    ]
    fenced = {
        place(each.page, line)
        for each in (*ALL, *(block.output for block in ALL if block.output))
        for line in range(each.line, each.line + each.code.count("\n"))
    }
    assert set(indented) - fenced == set()


def test_what_is_not_run_says_why() -> None:
    unsaid = [block.place for block in ALL if block.not_run and not block.marks["not run"]]

    assert unsaid == []


def test_most_of_it_is_run() -> None:
    run = [block for block in RUNNABLE if not block.not_run]

    assert len(run) >= len(RUNNABLE) / 2


def test_commands_that_are_not_run_could_be() -> None:
    commands = [
        (place(block.page, command.line), command.text)
        for block in in_(*SHELL)
        if block.not_run
        for command in block.commands
    ]
    assert [(where, wrong) for where, text in commands for wrong in problems(text)] == []


def test_commands_within_sentences_could_be_typed() -> None:
    found = [
        (place(page, number), text)
        for page in pages()
        for number, line in enumerate(page.read_text().splitlines(), 1)
        for text in INLINE.findall(line)
    ]
    assert len(found) > 50
    assert [(where, wrong) for where, text in found for wrong in problems(text)] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lmscore score --no-such x", "lmscore score has no option --no-such"),
        ("cat x | lmscore scores -", "lmscore has no scores"),
        ("make deno", "make has no deno"),
        ("python benchmarks/no.py", "there is no benchmarks/no.py"),
    ],
)
def test_a_command_that_cannot_be_typed_is_told(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_all_programs_are_known() -> None:
    assert set(PROGRAMS) == set(entry_points())


@pytest.mark.parametrize("block", in_("python"), ids=lambda block: block.place)
def test_python_is_python(block: Block) -> None:
    assert ast.parse(block.code, block.place).body


@pytest.mark.parametrize("block", in_("json", "jsonl"), ids=lambda block: block.place)
def test_json_can_be_read(block: Block) -> None:
    if block.language == "jsonl":
        assert all(json.loads(line) for line in block.code.splitlines())
    else:
        assert json.loads(block.code)


@pytest.mark.parametrize("block", in_("yaml"), ids=lambda block: block.place)
def test_yaml_can_be_read(block: Block) -> None:
    assert YAML(typ="safe").load(block.code)


@pytest.mark.parametrize("block", in_("toml"), ids=lambda block: block.place)
def test_toml_can_be_read(block: Block) -> None:
    assert tomllib.loads(block.code)


def test_links_lead_somewhere() -> None:
    links = [
        (page, target)
        for page in pages()
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target
    ]
    assert len(links) > 50
    assert [(page, to) for page, to in links if not (page.parent / to).exists()] == []


def test_other_languages_are_shown_where_they_are_tried() -> None:
    """By tests/interop/test_node.py."""
    assert {block.page.name for block in in_("js")} == {"node.md"}
