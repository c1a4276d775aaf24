"""Writes which packages lmscore brings with it, by extra, and under which licences they are.

    python -m deploy.licences > docs/licences.md

It tells what is installed beside the Python that runs it, which is to be what constraints.txt says.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageMetadata, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = ("server", "cli", "plot", "tracing", "gpu")
LIGHT = "client"
"""What the packages that are needed without an extra are said to be for."""

_HEAD = """\
# Licences

What `pip install 'lmscore[...]'` brings with it, at the versions of `constraints.txt`, as each
package tells it itself: an SPDX expression where it has one, else its own words. `make licences`
writes this page, `make sbom` the same as CycloneDX. A torch with CUDA brings NVIDIA's libraries
besides, under licences of their own.

| package | version | licence | for |
|---|---|---|---|
"""
_FEW_WORDS = 60  # a longer "License" is the whole text of one


@dataclass(frozen=True, slots=True)
class Dependency:
    """A package that is installed because some use of lmscore needs it."""

    name: str
    version: str
    licence: str  # empty if the package does not say
    uses: tuple[str, ...]  # extras, or LIGHT


def dependencies() -> list[Dependency]:
    """Every package that lmscore needs when it runs, and what these need in turn."""
    uses: dict[str, list[str]] = {}
    for use, needs in _needs_by_use().items():
        for name in sorted(_closure(needs)):
            uses.setdefault(name, []).append(use)
    return [_dependency(name, tuple(uses[name])) for name in sorted(uses)]


def page() -> str:
    """The whole of docs/licences.md."""
    rows = (
        (found.name, found.version, found.licence or "unknown", ", ".join(found.uses))
        for found in dependencies()
    )
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _needs_by_use() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return {LIGHT: project["dependencies"], **{extra: extras[extra] for extra in EXTRAS}}


def _closure(needs: list[str]) -> set[str]:
    names: set[str] = set()
    waiting = list(needs)
    while waiting:
        need = Requirement(waiting.pop())
        name = canonicalize_name(need.name)
        if name not in names and _applies(need):
            names.add(name)
            waiting += distribution(name).requires or ()
    return names


def _applies(need: Requirement) -> bool:
    """Whether it is needed on this system, with no extra of the package that asks for it."""
    return need.marker is None or need.marker.evaluate({"extra": ""})


def _dependency(name: str, uses: tuple[str, ...]) -> Dependency:
    found = distribution(name)
    version = found.version.partition("+")[0]  # torch says for which device it was built
    return Dependency(name, version, next(_licences(found.metadata), ""), uses)


def _licences(told: PackageMetadata) -> Iterator[str]:
    """What a package says, the most exact first."""
    if "License-Expression" in told:
        yield told["License-Expression"]
    words = told["License"] if "License" in told else ""  # noqa: SIM401 (its type has no get)
    if words and len(words) <= _FEW_WORDS:
        yield words
    classifiers = told.get_all("Classifier") or []
    names = [line.split(" :: ")[-1] for line in classifiers if line.startswith("License :: ")]
    if names:
        yield " or ".join(names)


if __name__ == "__main__":
    print(page(), end="")
