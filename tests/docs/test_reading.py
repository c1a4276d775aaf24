"""How pages are read, and how their output is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.compare import matches, within
from tests.docs.markdown import blocks


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb\n", "a  \nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n...\n", "a\nb\nc\n", True),
        ("...\nc\n", "a\nb\n", False),
        ("1.5\n", "1.6\n", False),
    ],
)
def test_output_is_as_shown(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("PPL 1,000.0 x", "PPL 1,000.5   x", True),
        ("PPL 1,000.0 x", "PPL 1,002.0 x", False),
        ("PPL 1 x", "PPL 1 y", False),
        ("PPL 1 2", "PPL 1", False),
        ("-1.0e-5", "-1.1e-5", True),
    ],
)
def test_numbers_may_differ_as_far_as_is_said(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed, within(0.001)) is same


def test_blocks_know_their_lines_and_their_marks() -> None:
    first, second, third, fourth = blocks(Path(__file__).with_name("wrong_page.md"))

    assert (first.line, first.marks) == (5, {"not run": "it would go on for ever"})
    assert [command.line for command in second.commands] == [11, 13, 17]
    assert [command.shown for command in second.commands] == ["made\n", "one\n...\n", None]
    assert [command.line for command in third.commands] == [21, 24]
    assert third.output is not None
    assert (third.output.line, fourth.language) == (27, "python")


def test_a_mark_that_is_not_known_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- never run: why -->\n```sh\ntrue\n```\n")

    with pytest.raises(ValueError, match=r"page\.md:1: no mark"):
        blocks(page)
