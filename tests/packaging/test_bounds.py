"""The oldest versions that pyproject.toml allows: those that are tested, and no older."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.packaging.distributions import ROOT
from tests.packaging.environments import EXTRAS, LOWEST

GENERATED = ROOT / "proto" / "lmscore" / "v1"


@pytest.fixture(scope="module")
def needs() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lists = (project["dependencies"], *(extras[extra] for extra in EXTRAS))
    return [Requirement(need) for listed in lists for need in listed]


def bound(need: Requirement) -> Version:
    [specifier] = need.specifier
    assert specifier.operator == ">=", need
    return Version(specifier.version)


def test_every_lower_bound_is_a_version_that_is_tested(needs: list[Requirement]) -> None:
    lines = LOWEST.read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    tested = {canonicalize_name(name): Version(version) for name, version in pins.items()}

    allowed = {canonicalize_name(need.name): bound(need) for need in needs}

    assert allowed == {name: tested[name] for name in allowed}


def test_a_package_has_the_same_bound_in_every_extra(needs: list[Requirement]) -> None:
    bounds: dict[str, set[Version]] = {}
    for need in needs:
        bounds.setdefault(canonicalize_name(need.name), set()).add(bound(need))

    assert [name for name, found in bounds.items() if len(found) > 1] == []


def test_the_generated_code_takes_every_grpc_and_protobuf_that_is_allowed(
    needs: list[Requirement],
) -> None:
    [grpcio] = {bound(need) for need in needs if need.name == "grpcio"}
    [protobuf] = {bound(need) for need in needs if need.name == "protobuf"}
    asked_of_grpcio = {
        Version(found)
        for path in GENERATED.glob("*_pb2_grpc.py")
        for found in re.findall(r"GRPC_GENERATED_VERSION = '([\d.]+)'", path.read_text())
    }
    asked_of_protobuf = {
        Version(".".join(found))
        for path in GENERATED.glob("*_pb2.py")
        for found in re.findall(r"PUBLIC,\s+(\d+),\s+(\d+),\s+(\d+),", path.read_text())
    }

    assert asked_of_grpcio
    assert asked_of_protobuf
    assert max(asked_of_grpcio) <= grpcio
    assert max(asked_of_protobuf) <= protobuf
