"""Settings name themselves and where they came from when they cannot be used."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner

from lmscore.server.command import command
from lmscore.server.doubts import doubts
from lmscore.server.settings_sources import (
    ENVIRONMENT_PREFIX,
    ConfigurationError,
    format_settings,
    load_settings,
    settings_from_json,
    settings_to_json,
)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"model": "m"}, r"model: 'm' is not NAME=PATH \(from flag\)"),
        ({"model": "m="}, "model: 'm=' is not NAME=PATH"),
        ({"model": "a b=x"}, "model: 'a b' is not a model name"),
        ({"model": "m=x\0"}, "model: .* is not a path"),
        ({"model": "m=x,m=y"}, "model: two models are named m"),
        ({"model": 3}, "model: "),
        ({"listen": "localhost"}, "listen: 'localhost' is not HOST:PORT"),
        ({"listen": "localhost:65536"}, "listen: 'localhost:65536' is not HOST:PORT"),
        ({"listen": "localhost:²"}, "listen: 'localhost:²' is not HOST:PORT"),
        ({"trace_endpoint": "nowhere"}, r"trace_endpoint: 'nowhere' is not \[http\[s\]://\]HOST"),
        ({"device": "gpu"}, "device: 'gpu' is none of auto, cpu, cuda, cuda:N"),
        ({"trace_ratio": 2}, "trace_ratio: .* less than or equal to 1"),
        ({"trace_ratio": True}, "trace_ratio: true is not a value of this setting"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(flags: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_settings(flags)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("listen = 'x'", r"listen: 'x' is not HOST:PORT \(from file .*server.toml\)"),
        ("no_such = 1", r"no_such: there is no such setting"),
        ("listen", "server.toml: "),
    ],
)
def test_so_is_one_of_a_file(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "server.toml").write_text(content)

    with pytest.raises(ConfigurationError, match=problem):
        load_settings({}, tmp_path / "server.toml")


def test_a_file_that_is_not_there_or_not_utf8_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.toml: No such file"):
        load_settings({}, tmp_path / "server.toml")
    (tmp_path / "server.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match=r"server\.toml: .*utf-8"):
        load_settings({}, tmp_path / "server.toml")


def test_a_flag_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server.toml").write_text(
        "max_sequences = 1\nmax_waiting_generations = 1\ndevice = 'cpu'\n"
    )
    monkeypatch.setenv("LMSCORE_MAX_SEQUENCES", "2")
    monkeypatch.setenv("LMSCORE_MAX_WAITING_GENERATIONS", "2")
    settings, origins = load_settings({"max_sequences": 3}, tmp_path / "server.toml")

    assert settings.max_sequences == 3
    assert settings.max_waiting_generations == 2
    assert settings.device == "cpu"
    names = ("max_sequences", "max_waiting_generations", "device", "listen")
    assert [origins[name] for name in names] == [
        "flag",
        "environment",
        f"file {tmp_path / 'server.toml'}",
        "default",
    ]


def test_settings_are_shown_as_a_file_that_gives_them_again(tmp_path: Path) -> None:
    flags = {"model": "m=a ü,n=b", "listen": "127.0.0.1:0", "trace_ratio": 0.5}
    settings, origins = load_settings(flags)
    shown = format_settings(settings, origins)
    (tmp_path / "server.toml").write_text(shown, encoding="utf-8")

    assert tomllib.loads(shown)["model"] == ["m=a ü", "n=b"]
    assert "trace_ratio = 0.5  # flag" in shown.splitlines()
    assert load_settings({}, tmp_path / "server.toml")[0] == settings


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("modell = 'm=x'", "modell: there is no such setting; did you mean model?"),
        ("max-texts = 3", "max-texts: there is no such setting; did you mean max_texts?"),
        ("[server]", r"server: there is no such setting \(from file"),
    ],
)
def test_a_misspelt_name_in_the_file_is_told_with_the_right_one(
    tmp_path: Path, line: str, problem: str
) -> None:
    (tmp_path / "server.toml").write_text(f"{line}\n")

    with pytest.raises(ConfigurationError, match=problem.replace("?", r"\?")):
        load_settings({}, tmp_path / "server.toml")


def found_doubts(*variables: str, **flags: Any) -> list[str]:
    return list(doubts(load_settings(flags)[0], variables, ENVIRONMENT_PREFIX))


def test_a_misspelt_variable_is_doubted_and_those_of_others_are_not() -> None:
    [doubt] = found_doubts("LMSCORE_THREDS", "THREDS", "HOME")
    assert doubt == "LMSCORE_THREDS: there is no such setting; did you mean LMSCORE_THREADS?"
    others = ("LMSCORE_SERVICE_HOST", "LMSCORE_PORT", "LMSCORE_PORT_50051_TCP", "LMSCORE_TLS_CA")
    assert not found_doubts("LMSCORE_ADDRESS", "LMSCORE_API_KEY", "LMSCORE_THREADS", *others)


def test_an_admin_address_without_a_repository_is_doubted(tmp_path: Path) -> None:
    admin = "127.0.0.1:0"
    assert "set repository too" in found_doubts(admin=admin)[0]
    assert not found_doubts(admin=admin, repository=str(tmp_path))


def test_doubts_are_told_beside_the_settings_and_in_the_log(
    monkeypatch: pytest.MonkeyPatch, tiny_arpa: Path
) -> None:
    monkeypatch.setenv("LMSCORE_THREDS", "2")
    arguments = ["--model", f"m={tiny_arpa}"]
    shown = CliRunner().invoke(command, [*arguments, "--print-config"])
    assert "LMSCORE_THREDS" in shown.stderr
    assert "LMSCORE_THREDS" not in shown.stdout

    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr("lmscore.server.logs.configure_logs", lambda *_, **__: None)
        tried = CliRunner().invoke(command, [*arguments, "--dry-run"])
    assert tried.exit_code == 0, tried.output
    assert [line["problem"] for line in lines if line["event"] == "no effect"] == [
        "LMSCORE_THREDS: there is no such setting; did you mean LMSCORE_THREADS?"
    ]


def test_another_process_reads_the_same_settings() -> None:
    settings, _ = load_settings({"model": "m=a,n=b", "device": "cuda:1", "max_sequences": 7})

    assert settings_from_json(settings_to_json(settings)) == settings
