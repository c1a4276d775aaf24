"""The file of API keys."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from lmscore.server.command import command
from lmscore.server.security.files import UnusableFileError, WatchedFiles
from lmscore.server.security.keys import KeyRing, new_key, read_keys

DIGEST = "ab" * 32


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    return path


def test_a_new_key_is_found_under_its_name_and_no_other_is(tmp_path: Path) -> None:
    (first, lines), (second, more) = new_key("asr-team"), new_key("b.2")
    keys = read_keys(file(tmp_path, lines + more))

    found = keys.find(first)
    assert found is not None
    assert (found.name, found.settings.admin) == ("asr-team", False)
    assert found.settings.sha256 == hashlib.sha256(first.encode()).hexdigest()
    for wrong in ("", first[:-1], f"{first} ", found.settings.sha256, "\udc80", "é"):
        assert keys.find(wrong) is None
    assert first != second
    assert first not in lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[keys.a]\n", "keys.a.sha256"),
        (f'[keys.a]\nsha256 = "{DIGEST}"\nrequests = 5\n', "keys.a.requests"),
        (f'[keys.a]\nsha256 = "{DIGEST}"\nrequests_per_second = 0\n', "requests_per_second"),
        (f'[keys.a]\nsha256 = "{DIGEST}"\ntokens_per_second = inf\n', "tokens_per_second"),
        (f'[keys.a]\nsha256 = "{DIGEST}"\ntokens_per_second = true\n', "tokens_per_second"),
        (f'[keys.a]\nsha256 = "{DIGEST}"\nadmin = "yes"\n', "keys.a.admin"),
        (f'[keys.a]\nsha256 = "{DIGEST}"\npriority = "first"\n', "keys.a.priority"),
        (f'[keys."a:b"]\nsha256 = "{DIGEST}"\n', "'a:b'"),
        (f'[keys.a]\nsha256 = "{DIGEST}"\n[keys.b]\nsha256 = "{DIGEST}"\n', "keys.b.sha256"),
        (f'[key.a]\nsha256 = "{DIGEST}"\n', "key"),
        ("", "keys"),
        ("[keys.a\n", "line 1"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_name_and_the_keys(
    tmp_path: Path, text: str, said: str
) -> None:
    path = file(tmp_path, text)
    with pytest.raises(UnusableFileError) as refused:
        read_keys(path)

    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value).removeprefix(f"{path}: ")


def test_a_key_put_where_its_hash_belongs_is_not_repeated(tmp_path: Path) -> None:
    key, _ = new_key("a")
    with pytest.raises(UnusableFileError) as refused:
        read_keys(file(tmp_path, f'[keys.a]\nsha256 = "{key}"\n'))

    assert key not in str(refused.value)
    assert "64 hexadecimal digits" in str(refused.value)


def test_a_changed_file_is_read_after_a_second_and_a_broken_one_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    (first, lines), (second, more) = new_key("a"), new_key("b")
    path = file(tmp_path, lines)
    reads = []

    def read() -> KeyRing:
        reads.append(now)
        return read_keys(path)

    watched = WatchedFiles((path,), read, clock=lambda: now)
    path.write_text(lines + more)
    assert watched.value().find(second) is None
    now = 1.0
    assert watched.value().find(second)

    path.write_text("[keys.")
    for later in (2.0, 3.0, 4.0):
        now = later
        assert watched.value().find(first)
    path.unlink()
    for later in (5.0, 6.0):
        now = later
        assert watched.value().find(first)
    assert reads == [0.0, 1.0, 2.0, 5.0]
    assert "".join(capsys.readouterr()).count("cannot be used") == 2

    renewed = tmp_path / "renewed"
    renewed.write_text(more)
    renewed.replace(path)
    now = 7.0
    assert watched.value().find(first) is None


def test_the_command_makes_a_key_whose_lines_can_be_appended_to_the_file() -> None:
    made = CliRunner().invoke(command, ["--new-key", "asr-team"])

    key = made.stderr.splitlines()[-1]
    [(name, table)] = tomllib.loads(made.stdout)["keys"].items()
    assert (name, made.exit_code) == ("asr-team", 0)
    assert table["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    assert key not in made.stdout
    assert CliRunner().invoke(command, ["--new-key", "a/b"]).exit_code == 2
