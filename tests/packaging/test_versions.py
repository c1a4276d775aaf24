"""One version, wherever it is told: that of the package as it was installed."""

from __future__ import annotations

import sys
from importlib.metadata import version

import click
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

import lmscore.client
from lmscore.client.cli.app import command as lmscore_command
from lmscore.models.commands.convert_command import command as convert_command
from lmscore.models.commands.eval_command import command as eval_command
from lmscore.models.commands.train_command import command as train_command
from lmscore.server.command import command as server_command
from lmscore.server.metrics.metrics import Metrics

COMMANDS: dict[str, click.Command] = {
    "lmscore": lmscore_command,
    "lmscore-convert": convert_command,
    "lmscore-eval": eval_command,
    "lmscore-server": server_command,
    "lmscore-train": train_command,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_the_version_that_is_installed(name: str) -> None:
    result = CliRunner().invoke(COMMANDS[name], ["--version"], prog_name=name)

    assert (result.exit_code, result.output) == (0, f"{name} {version('lmscore')}\n")


def test_the_client_and_the_metrics_tell_the_same_version() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    [family] = [family for family in registry.collect() if family.name == "lmscore_build_info"]
    [sample] = family.samples

    assert lmscore.client.__version__ == version("lmscore") == sample.labels["version"]


def test_sources_that_nobody_installed_have_a_client_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = "lmscore.client.version"
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr("importlib.metadata.Distribution.discover", lambda **_: iter(()))
    __import__(module)

    assert sys.modules[module].__version__ == "0+unknown"
