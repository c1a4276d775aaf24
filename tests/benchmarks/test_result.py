from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest
from benchmarks.machine import ROOT
from benchmarks.page import page
from benchmarks.result import Goal, Row, read_result, write_result
from benchmarks.sections import KEPT, MEASURED, ORDER
from benchmarks.timing import in_turns
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.results import measured, plot

SAMPLES = st.lists(st.tuples(*[st.floats(0.01, 1e6)] * 2), min_size=1, max_size=9)


@given(SAMPLES)
def test_the_ratio_is_the_median_of_the_rounds_ratios(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)

    row = Row("x", "tokens/s", ours, "peer", theirs)

    assert row.ratio == median(o / t for o, t in pairs)


@given(SAMPLES)
def test_rates_and_seconds_of_the_same_work_have_the_same_ratio(
    pairs: list[tuple[float, float]],
) -> None:
    ours, theirs = zip(*pairs, strict=True)
    seconds = tuple(1 / x for x in ours), tuple(1 / x for x in theirs)

    rate = Row("x", "tokens/s", ours, "peer", theirs)
    time = Row("x", "s", seconds[0], "peer", seconds[1], less_is_better=True)

    assert rate.ratio == pytest.approx(time.ratio)


@given(SAMPLES)
def test_the_ratio_lies_within_its_spread(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)

    row = Row("x", "tokens/s", ours, "peer", theirs)

    if len(pairs) == 1:
        assert row.spread is None
    else:
        assert row.ratio is not None
        assert row.spread is not None
        assert row.spread[0] <= row.ratio <= row.spread[1]


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        (Row("x", "tokens/s", (8.0,), "peer", (2.0,), goal=Goal(4.0)), True),
        (Row("x", "tokens/s", (7.9,), "peer", (2.0,), goal=Goal(4.0)), False),
        (Row("x", "s", (1.0,), "peer", (3.0,), less_is_better=True, goal=Goal(2.0)), True),
        (Row("x", "s", (0.05,), goal=Goal(0.05, at_most=True)), True),
        (Row("x", "s", (0.06,), goal=Goal(0.05, at_most=True)), False),
        (Row("x", "tokens/s", (8.0,), "peer", goal=Goal(4.0), note="absent"), None),
        (Row("x", "tokens/s", (8.0,), "peer", (2.0,)), None),
    ],
)
def test_a_goal_is_of_the_ratio_or_without_a_peer_of_the_figure(
    row: Row, reached: bool | None
) -> None:
    assert row.reached is reached


def test_rounds_of_both_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="2 rounds of ours, 1 of the peer"):
        Row("x", "s", (1.0, 2.0), "peer", (1.0,))


def test_what_is_kept_is_what_was_measured(tmp_path: Path) -> None:
    row = Row("x", "s", (1.5, 1e-9), "peer", (2.0, 3.0), less_is_better=True, goal=Goal(2.0))
    kept = measured(row, plots=(plot(),))

    write_result(tmp_path / "a" / "ngram.json", kept)

    assert read_result(tmp_path / "a" / "ngram.json") == kept


def test_rounds_alternate_and_so_does_who_comes_first() -> None:
    calls: list[str] = []

    def calling(name: str) -> int:
        calls.append(name)
        return len(calls)

    found = in_turns(2, {"a": lambda: calling("a"), "b": lambda: calling("b")})

    assert calls == ["a", "b", "b", "a"]
    assert found == {"a": (1, 4), "b": (2, 3)}


def test_every_section_that_is_kept_has_a_result_that_tells_its_command() -> None:
    for name in KEPT:
        kept = read_result(ROOT / f"benchmarks/results/{name}.json")

        assert kept.name == name
        assert kept.command


def test_every_section_that_is_measured_has_a_module() -> None:
    for module in MEASURED.values():
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()


def test_the_page_in_docs_is_that_of_the_results() -> None:
    paths = [ROOT / f"benchmarks/results/{name}.json" for name in ORDER]
    results = [read_result(path) for path in paths if path.exists()]

    assert (ROOT / "docs/performance.md").read_text() == page(results)
