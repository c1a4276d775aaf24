"""The client without an extra: three packages and what they need, in an environment of its own."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from tests.client.served import served
from tests.packaging.distributions import ROOT, built, metadata

PROGRAM = """
import json, sys
from importlib.metadata import version
from importlib.util import find_spec
from lmscore.client import Client, __version__

with Client(sys.argv[1], model="tiny") as client:
    [score] = client.score(["a b"])
    [text] = client.generate_texts("a", max_tokens=1)
print(json.dumps({
    "log_prob": score.log_prob,
    "generated": text.text,
    "same version": __version__ == version("lmscore"),
    "found": [name for name in sys.argv[2:] if find_spec(name)],
}))
"""
HEAVY = ["click", "jiwer", "numba", "numpy", "pydantic", "rich", "structlog", "torch"]


class Environment:
    """A fresh virtual environment with lmscore's wheel and what that says it needs."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        venv.create(folder, symlinks=True)
        self.bin = folder / "bin"
        self.packages: set[str] = set()
        paths = {"base": str(folder), "platbase": str(folder)}
        self._library = Path(sysconfig.get_path("purelib", "venv", paths))
        self._install(wheel)
        for need in metadata(wheel).get_all("Requires-Dist", []):
            if "extra ==" not in need:
                self._link(re.split(r"[^\w.-]", need)[0])

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        [program, *arguments] = command
        return subprocess.run(
            [str(self.bin / program), *arguments],
            env=clean,
            cwd=self.bin,
            capture_output=True,
            text=True,
            check=False,
        )

    def _install(self, wheel: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python")]
        offline = ["--no-index", "--no-deps", "--no-compile", "--quiet"]
        subprocess.run([*pip, "install", *offline, str(wheel)], check=True, capture_output=True)

    def _link(self, name: str) -> None:
        """A package that is installed here, and those that it needs in turn."""
        if name in self.packages:
            return
        self.packages.add(name)
        found = distribution(name)
        for file in found.files or ():
            if ".." not in file.parts:
                link = self._library / file
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(Path(str(found.locate_file(file))))
        for need in found.requires or ():
            if "extra ==" not in need:
                self._link(re.split(r"[^\w.-]", need)[0])


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("light")
    [wheel] = built(ROOT, folder / "dist", "wheel")
    return Environment(folder / "venv", wheel)


@pytest.fixture
def address(tiny_arpa: Path) -> Iterator[str]:
    with served({"tiny": tiny_arpa}) as address:
        yield address


def test_the_client_scores_and_generates_with_three_packages(
    environment: Environment, address: str
) -> None:
    done = environment.run("python", "-c", PROGRAM, address, *HEAVY)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)

    assert environment.packages == {
        *("grpcio", "protobuf", "googleapis-common-protos"),
        "typing-extensions",  # which grpcio needs
    }
    assert told.pop("log_prob") == pytest.approx(math.log(0.6 * 0.5 * 0.5), abs=1e-5)
    assert told == {"generated": " b", "same version": True, "found": []}


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("lmscore", "cli"),
        ("lmscore-server", "server"),
        ("lmscore-convert", "server"),
        ("lmscore-train", "server"),
        ("lmscore-eval", "server"),
    ],
)
def test_a_command_whose_extra_is_absent_says_what_to_install(
    environment: Environment, command: str, extra: str
) -> None:
    done = environment.run(command, "--help")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"{command} needs ")
    assert done.stderr.endswith(f": pip install 'lmscore[{extra}]'\n")
    assert done.stderr.count("\n") == 1
