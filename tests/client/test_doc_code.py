"""What docs/clients shows is run, and gives what it says."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmscore.client import ChannelSettings
from tests.client.doc_code import blocks, program
from tests.client.served import served

A_B = math.log(0.6 * 0.5 * 0.5)
B = math.log(2 / 3 * 0.3 * 0.5)


@pytest.fixture(scope="module")
def address(tiny_arpa: Path) -> Iterator[str]:
    with served({"news": tiny_arpa}) as listening:
        yield listening


def printed(code: str, page: str, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """What a program prints, by the first word of each line."""
    capsys.readouterr()
    exec(compile(code, page, "exec"), {"__name__": "__main__"})  # noqa: S102 (our own)
    rows = (line.partition(" ") for line in capsys.readouterr().out.splitlines())
    return [(label, rest) for label, _, rest in rows]


def number(row: tuple[str, str]) -> float:
    return float(row[1].split()[0])


def test_python(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = program("python.md", "python", address)
    first, second, best, text, total, both, *tokens, error, field = printed(
        code, "python.md", capsys
    )

    assert number(first) == pytest.approx(A_B, abs=1e-5)
    assert first[1].endswith("['a', 'b', '</s>']")
    assert number(second) == pytest.approx(B, abs=1e-5)
    assert (best, text) == (("best", "a b"), ("text", " b"))
    assert number(total) == pytest.approx(1000 * A_B, abs=1e-2)
    assert number(both) == pytest.approx(A_B, abs=1e-5)
    assert both[1].endswith("next ['b', 'a']")
    assert tokens == [("token", "a"), ("token", "b"), ("token", "</s>")]
    assert (error, field) == (("error", "MODEL_NOT_FOUND"), ("field", "model.name"))


def test_kenlm(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = program("kenlm.md", "python", address, only=slice(2))
    rows = printed(code, "kenlm.md", capsys)
    labels = [label for label, _ in rows]

    assert number(rows[0]) == pytest.approx(A_B / math.log(10), abs=1e-5)
    assert number(rows[1]) == pytest.approx(0.15 ** (-1 / 3), rel=1e-5)
    assert labels[2:6] == ["word"] * 4
    assert rows[3][1].endswith(" 1 True")
    assert rows[7] == ("known", "True False 2")
    assert len(json.loads(rows[8][1])) == 3
    assert rows[9] == ("known", "['a', 'b']")
    assert rows[10][1].endswith("State(words=('a',))")


def test_pyctcdecode(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyctcdecode", reason="it asks for an older numpy")
    code = program("kenlm.md", "python", address, only=slice(2, None))

    assert ("text", "a b") in printed(code, "kenlm.md", capsys)


def test_the_service_config_is_the_clients() -> None:
    (documented,) = blocks("service-config.md", "json")
    ours = dict(ChannelSettings().options("dns:///lmscore:50051"))["grpc.service_config"]

    assert json.loads(documented) == json.loads(ours)
