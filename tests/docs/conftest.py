"""Where pages are tried: programs on the path, a server of the demo models, a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, SHELL, blocks
from tests.docs.programs import on_the_path
from tests.docs.session import PORT, Addresses, Page, Try, serves, trying

CHECKOUT = ("benchmarks", "buf.yaml", "checkpoints", "deploy", "docs", "proto", "pyproject.toml")
NAMES = {"demo": "trigram.arpa.gz", "demo-lstm": "lstm", "news": "trigram.arpa.gz"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-docs", action="store_true", help="put what commands print into the pages"
    )


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """That of a shell of somebody who has installed the project."""
    folder = tmp_path_factory.mktemp("docs")
    with on_the_path(folder) as programs:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LMSCORE_", "PYTEST_"))}
        path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), kept["PATH"]])
        plain = {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
        yield kept | plain | {"PATH": path, "HOME": str(folder)}


@pytest.fixture(scope="session")
def port(environment: dict[str, str]) -> Iterator[int]:
    """That of a server with the demo models, for the pages that start none."""
    models = [f"--model={name}={ROOT}/checkpoints/demo/{file}" for name, file in NAMES.items()]
    command = ["lmscore-server", *models, "--listen=127.0.0.1:0", "--log-format=json"]
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, executable=_found(environment)
    )
    assert process.stderr is not None
    events = map(json.loads, process.stderr)
    ready = next(event for event in events if event["event"] == "ready")
    yield int(ready["address"].rpartition(":")[2])
    process.terminate()
    process.communicate(timeout=30)


def _found(environment: dict[str, str]) -> str:
    return str(Path(environment["PATH"].partition(os.pathsep)[0]) / "lmscore-server")


@pytest.fixture
def try_page(
    tmp_path: Path, environment: dict[str, str], port: int, monkeypatch: pytest.MonkeyPatch
) -> Try:
    """A page, to be tried in a folder that looks like a checkout."""
    for name in CHECKOUT:
        (tmp_path / name).symlink_to(ROOT / name)

    def start(page: Path) -> AbstractContextManager[Page]:
        addresses = Addresses() if _serves_itself(page) else Addresses({PORT: port})
        asked = f"127.0.0.1:{addresses.port(PORT)}"
        monkeypatch.setenv("LMSCORE_ADDRESS", asked)
        return trying(tmp_path, addresses, environment | {"LMSCORE_ADDRESS": asked})

    return start


def _serves_itself(page: Path) -> bool:
    texts = [
        text for block in blocks(page) for text in block.marks.get("run first", "").splitlines()
    ]
    runnable = (block for block in blocks(page) if block.language in SHELL and not block.not_run)
    texts += [command.text for block in runnable for command in block.commands]
    return any(map(serves, texts))
