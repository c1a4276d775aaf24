"""docs/licences.md: every package that comes with lmscore, each under a licence that is known."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import pytest
from deploy.licences import EXTRAS, LIGHT, Dependency, dependencies
from deploy.sbom import kept
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.distributions import ROOT


@pytest.fixture(scope="module")
def listed() -> dict[str, tuple[str, str, str]]:
    """Version, licence and uses by name."""
    lines = (ROOT / "docs" / "licences.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    return {name: (version, licence, uses) for name, version, licence, uses in rows[2:]}


@pytest.fixture(scope="module")
def needed() -> list[Dependency]:
    try:
        return dependencies()
    except PackageNotFoundError as error:
        pytest.skip(f"{error.name} is not installed; `make .venv/installed` installs every extra")


def test_every_package_that_is_needed_is_listed_with_its_licence_and_its_uses(
    needed: list[Dependency], listed: dict[str, tuple[str, str, str]]
) -> None:
    assert {found.name: (found.licence, ", ".join(found.uses)) for found in needed} == {
        name: (licence, uses) for name, (_, licence, uses) in listed.items()
    }, "`make licences` renews docs/licences.md"


def test_no_licence_is_unknown(listed: dict[str, tuple[str, str, str]]) -> None:
    assert {use for _, _, uses in listed.values() for use in uses.split(", ")} == {LIGHT, *EXTRAS}
    assert [name for name, (_, licence, _) in listed.items() if licence in {"", "unknown"}] == []


def test_the_versions_are_those_of_the_constraints(
    listed: dict[str, tuple[str, str, str]],
) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pinned = {canonicalize_name(name): version for name, version in pins.items()}

    assert {name: version for name, (version, _, _) in listed.items()} == {
        name: pinned[canonicalize_name(name)] for name in listed
    }, "`make licences` renews docs/licences.md"


def test_what_a_package_needs_in_turn_is_listed_too(
    listed: dict[str, tuple[str, str, str]],
) -> None:
    for name in listed:
        for need in map(Requirement, distribution(name).requires or ()):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert canonicalize_name(need.name) in listed, f"{name} needs {need}"


def test_the_bill_of_materials_has_what_runs_and_no_more() -> None:
    def component(name: str, **more: object) -> dict[str, object]:
        return {"name": name, "bom-ref": f"{name}==1", **more}

    told = [{"license": {"id": "MIT"}}]
    bill: dict[str, Any] = {
        "metadata": {"component": component("lmscore")},
        "components": [component("Click", licenses=told), component("protobuf"), component("ruff")],
        "dependencies": [
            {"ref": "lmscore==1", "dependsOn": ["Click==1", "ruff==1"]},
            {"ref": "Click==1", "dependsOn": ["protobuf==1"]},
            {"ref": "ruff==1"},
        ],
    }
    bill = kept(bill, {"click": "MIT", "protobuf": "3-Clause BSD License"})

    assert {part["name"]: part["licenses"] for part in bill["components"]} == {
        "Click": told,
        "protobuf": [{"license": {"name": "3-Clause BSD License"}}],
    }
    assert bill["dependencies"] == [
        {"ref": "lmscore==1", "dependsOn": ["Click==1"]},
        {"ref": "Click==1", "dependsOn": ["protobuf==1"]},
    ]
