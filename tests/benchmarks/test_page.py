from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from benchmarks.formats import amount, times
from benchmarks.page import page
from benchmarks.plots import draw, draw_goals
from benchmarks.result import Goal, Row

from tests.benchmarks.results import measured, plot


def line_of(text: str, what: str) -> list[str]:
    """The cells of the last line of a table that begins so."""
    found = [line for line in text.splitlines() if line.startswith(f"| {what} |")]
    return [cell.strip() for cell in found[-1].strip("|").split("|")]


def test_a_row_shows_both_figures_the_ratio_and_the_goal() -> None:
    row = Row(
        "scoring", "tokens/s", (24e6, 20e6, 22e6), "kenlm", (4e6, 4e6, 4e6), goal=Goal(4.0)
    )  # fmt: skip

    cells = line_of(page([measured(row)]), "scoring")

    assert cells == [
        "scoring", "22.0 M tokens/s", "kenlm", "4.00 M tokens/s", "5.50 × (5.00–6.00)",  # noqa: RUF001
        "≥ 4 ×: reached",  # noqa: RUF001
    ]  # fmt: skip


def test_a_goal_that_is_missed_is_counted_and_marked() -> None:
    rows = (
        Row("fast", "tokens/s", (8.0,), "kenlm", (1.0,), goal=Goal(4.0)),
        Row("slow", "tokens/s", (2.0,), "kenlm", (1.0,), goal=Goal(4.0)),
        Row("untried", "tokens/s", (), "kenlm", goal=Goal(4.0), note="kenlm is not installed"),
    )

    text = page([measured(*rows)])

    assert "1 of 3 goals are reached, 1 could not be tried." in text
    assert "slow | ≥ 4 × | 2.00 × kenlm | **missed** |" in text  # noqa: RUF001
    assert "fast | ≥ 4 × | 8.00 × kenlm | reached |" in text  # noqa: RUF001
    assert "untried | ≥ 4 × | kenlm is not installed | not tried |" in text  # noqa: RUF001


def test_an_absent_peer_leaves_a_row_that_says_how_to_get_it() -> None:
    row = Row("scoring", "s", (0.002,), "lmplz", less_is_better=True, note="set KENLM_BIN")

    cells = line_of(page([measured(row)]), "scoring")

    assert cells == ["scoring", "2.00 ms", "lmplz", "set KENLM_BIN", "", ""]


def test_a_section_tells_command_date_commit_and_machine() -> None:
    text = page([measured(Row("x", "s", (1.0,)))])

    assert (
        "`python -m benchmarks.ngram_scoring` (rounds 3); 2026-01-31, commit abc123, 4 s." in text
    )
    assert "2 cores of A Processor, 8 GiB, Linux 6, Python 3.11.7, torch 2.9" in text


def test_a_machine_that_others_used_is_warned_of() -> None:
    busy = page([measured(Row("x", "s", (1.0,)), elsewhere=1.25)])

    assert "Other programs took 1.2 of 2 cores meanwhile" in " ".join(busy.split())
    assert "Other programs" not in page([measured(Row("x", "s", (1.0,)))])


def test_sections_that_failed_are_named() -> None:
    assert "Failed in the last run, so not renewed here: grpc." in page([], ["grpc"])


def test_links_to_sections_lead_to_their_headings() -> None:
    text = page([measured(Row("x", "s", (1.0,), goal=Goal(2.0, at_most=True)))])

    anchors = re.findall(r"\]\(#([^)]*)\)", text)

    assert anchors == ["the-engine"]
    assert "## The engine" in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (22_912_345.0, "tokens/s", "22.9 M tokens/s"),
        (769.4, "tokens/s", "769 tokens/s"),
        (145e9, "FLOP/s", "145 GFLOP/s"),
        (0.000324, "s", "324 µs"),
        (12.3456, "s", "12.3 s"),
        (250 * 2**20, "bytes", "250 MiB"),
        (23.7, "bytes an n-gram", "23.7 bytes an n-gram"),
        (1.5e-5, "nats a text", "1.5e-05 nats a text"),
        (0.0, "nats a text", "0.00 nats a text"),
    ],
)
def test_figures_have_three_digits_and_the_unit_that_suits(
    value: float, unit: str, text: str
) -> None:
    assert amount(value, unit) == text


def test_ratios_have_three_digits() -> None:
    assert [times(each) for each in (0.4287, 6.702, 104.6, 1234.0)] == [
        "0.429 ×", "6.70 ×", "105 ×", "1,234 ×",  # noqa: RUF001
    ]  # fmt: skip


def test_a_plot_is_a_picture_of_its_series_and_of_the_ideal(tmp_path: Path) -> None:
    path = draw(plot(), tmp_path)

    text = path.read_text()
    assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 - our own
    assert f"![Texts of a call](plots/{path.name})" in page([measured(plots=(plot(),))])
    for said in ("Texts of a call", "ours", "in proportion", "tokens/s", "stroke-dasharray"):
        assert said in text


def test_the_same_plot_is_the_same_file(tmp_path: Path) -> None:
    first = draw(plot(), tmp_path / "a").read_bytes()

    assert draw(plot(), tmp_path / "b").read_bytes() == first


def test_ratios_are_drawn_beside_their_goals(tmp_path: Path) -> None:
    row = Row("scoring", "tokens/s", (8.0,), "kenlm", (1.0,), goal=Goal(4.0))

    path = draw_goals([measured(row)], tmp_path)

    assert path == tmp_path / "goals.svg"
    assert "The engine: scoring" in path.read_text()
    assert draw_goals([measured(Row("x", "s", (1.0,)))], tmp_path) is None
