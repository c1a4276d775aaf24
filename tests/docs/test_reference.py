"""The pages of docs/reference say what the code says, and leave nothing out."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click
import pytest
from docs.reference import commands, descriptors, settings
from docs.reference.markdown import UndescribedError, prose
from docs.reference.pages import BUILDERS, FOLDER
from pydantic import BaseModel, Field

from lmscore.client.cli.app import command as lmscore
from lmscore.server.settings import Settings
from lmscore.v1 import language_model_service_pb2, model_service_pb2

SERVICES = [
    service
    for module in (language_model_service_pb2, model_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
]
PAGES = {name: (FOLDER / name).read_text(encoding="utf-8") for name in BUILDERS}


@pytest.mark.parametrize("name", BUILDERS)
def test_the_page_is_what_the_code_gives(name: str) -> None:
    assert PAGES[name] == BUILDERS[name](), f"docs/reference/{name}: run `make reference`"


def test_every_method_and_field_of_the_contract_is_there() -> None:
    page = PAGES["contract.md"]
    for service in SERVICES:
        for method in service.methods:
            assert f"\n### {method.name}\n" in page
            for field in (*method.input_type.fields, *method.output_type.fields):
                assert f"| `{field.name}` | {field.number} |" in page


@pytest.mark.parametrize("name", BUILDERS)
def test_links_within_a_page_lead_somewhere(name: str) -> None:
    headings = re.findall(r"^#+ (.*)$", PAGES[name], re.MULTILINE)
    anchors = [heading.lower().replace(" ", "-") for heading in headings]
    repeated = {f"{each}-1" for each in anchors if anchors.count(each) > 1}

    assert set(re.findall(r"\]\(#([^)]*)\)", PAGES[name])) <= {*anchors, *repeated}


@pytest.mark.parametrize("name", sorted(lmscore.commands))
def test_every_option_that_help_shows_is_there(name: str) -> None:
    context = click.Context(lmscore.commands[name], info_name=name)
    shown = re.findall(r"^  (?:-\w, )?(--[\w-]+)", context.get_help(), re.MULTILINE)

    for option in shown:
        assert re.search(rf"`[^`]*{option}[ `]", PAGES["commands.md"]), option


def test_every_setting_has_its_flag_and_variable_there() -> None:
    for name in Settings.model_fields:
        flag = f"--{name.replace('_', '-')}"
        assert f"| `{name}` | `{flag}` `LMSCORE_{name.upper()}` |" in PAGES["settings.md"]


def test_a_field_without_a_comment_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "lmscore/v1"
    folder.mkdir(parents=True)
    for file in descriptors.PROTO.glob("lmscore/v1/*.proto"):
        shutil.copy(file, folder)
    text = (folder / "common.proto").read_text()
    comment = "  // The version that answered, from 1.\n"
    assert comment in text
    (folder / "common.proto").write_text(text.replace(comment, ""))

    with pytest.raises(UndescribedError, match=r"common\.proto: .* ModelIdentity\.version$"):
        descriptors.described_files(tmp_path)


def test_an_option_without_help_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = click.Command("silent", params=[click.Option(["--quiet"])], help="Says nothing.")
    monkeypatch.setitem(commands.PROGRAMS, "silent", silent)

    with pytest.raises(UndescribedError, match="silent --quiet"):
        commands.build()


def test_a_setting_without_a_description_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(BaseModel):
        told: int = Field(default=1, description="Something.")
        untold: int = 2

    monkeypatch.setattr(settings, "Settings", Silent)

    with pytest.raises(UndescribedError, match=r"description of untold$"):
        settings.build()


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a <s>\n  b", r"a \<s> b"),
        ("`<s>` and *", r"`<s>` and \*"),
        ("NAME[:VERSION]", r"NAME\[:VERSION\]"),
    ],
)
def test_prose_is_not_taken_for_markup(text: str, markdown: str) -> None:
    assert prose(text) == markdown
