"""What a release hands out: the wheel, and the sdist that makes the same wheel."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import tarfile
import tomllib
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from zipfile import ZipFile

import pytest

from tests.packaging.distributions import ROOT, built, metadata

PACKAGES = {"v1": "proto", "models": "models", "server": "server", "client": "client"}
"""Each package of the namespace, and the folder that it comes from."""


class Distributions(NamedTuple):
    """What was built of the checkout, and files that came to lie among its sources."""

    sdist: Path
    wheel: Path
    left: set[Path]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    before = sources()
    [wheel, sdist] = built(ROOT, tmp_path_factory.mktemp("dist"), "sdist", "wheel")
    return Distributions(sdist, wheel, sources() - before)


def sources() -> set[Path]:
    """Every file of the packages, relative to the folder that is their import root."""
    return {
        path.relative_to(ROOT / root)
        for package, root in PACKAGES.items()
        for path in (ROOT / root / "lmscore" / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_every_file_of_the_four_packages_and_no_other(
    distributions: Distributions,
) -> None:
    with ZipFile(distributions.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert names == {path.as_posix() for path in sources()}
    assert {f"lmscore/{package}/py.typed" for package in PACKAGES} <= names
    assert "lmscore/v1/language_model_service.proto" in names
    assert "lmscore/__init__.py" not in names


def test_the_record_has_the_hash_of_every_file(distributions: Distributions) -> None:
    with ZipFile(distributions.wheel) as archive:
        [record] = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD")]
        rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(archive.read(record).decode()))}
        contents = {name: archive.read(name) for name in archive.namelist()}

    assert rows.pop(record) == ["", ""]
    del contents[record]
    assert rows == {
        name: [recorded(content), str(len(content))] for name, content in contents.items()
    }


def recorded(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"


def test_every_entry_point_of_the_wheel_can_be_called(distributions: Distributions) -> None:
    parser = ConfigParser()
    with ZipFile(distributions.wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        parser.read_string(archive.read(name).decode())
    scripts = dict(parser["console_scripts"])

    assert set(scripts) == {
        f"lmscore{verb}" for verb in ("", "-server", "-convert", "-train", "-eval")
    }
    for target in scripts.values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))


def test_the_metadata_says_what_an_index_shows(distributions: Distributions) -> None:
    told = metadata(distributions.wheel)
    needs = told.get_all("Requires-Dist", [])
    light = {re.split(r"[><=]", need)[0] for need in needs if "extra ==" not in need}

    assert told["Name"] == "lmscore"
    assert len(told["Summary"]) > 40
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_payload(decode=True) == (ROOT / "README.md").read_bytes()
    assert light == {"googleapis-common-protos", "grpcio", "protobuf"}
    assert set(told.get_all("Provides-Extra", [])) >= {"server", "cli", "plot", "tracing", "gpu"}
    assert "Typing :: Typed" in told.get_all("Classifier", [])


def test_the_sdist_makes_the_same_wheel_to_the_byte(
    distributions: Distributions, tmp_path: Path
) -> None:
    sdist, wheel, _ = distributions
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    [folder] = (tmp_path / "source").iterdir()
    [again] = built(folder, tmp_path / "dist", "wheel")

    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_the_sdist_has_nothing_that_building_does_not_need(
    distributions: Distributions,
) -> None:
    with tarfile.open(distributions.sdist) as archive:
        names = [PurePosixPath(*PurePosixPath(name).parts[1:]) for name in archive.getnames()]

    assert {name.parts[0] for name in names} == {
        *PACKAGES.values(),
        *(
            ".gitignore",
            "CHANGELOG.md",
            "PKG-INFO",
            "README.md",
            "constraints.txt",
            "pyproject.toml",
        ),
    }
    assert all(name.parts[1] == "lmscore" for name in names if name.parts[0] in PACKAGES.values())


def test_a_folder_without_git_is_a_version_before_the_first_release(tmp_path: Path) -> None:
    fallback = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["version"]
    for name in ("pyproject.toml", "README.md"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for package, root in PACKAGES.items():
        (tmp_path / root / "lmscore" / package).mkdir(parents=True)
        (tmp_path / root / "lmscore" / package / "py.typed").touch()
    [wheel] = built(tmp_path, tmp_path / "dist", "wheel")

    assert metadata(wheel)["Version"] == fallback["fallback-version"]


def test_building_leaves_no_file_beside_the_sources(distributions: Distributions) -> None:
    assert distributions.left == set()
