from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import main
from benchmarks.machine import ROOT
from benchmarks.networks import made_up_lists
from benchmarks.result import read_result
from benchmarks.sections import KEPT, MEASURED
from click.testing import CliRunner


@pytest.fixture
def two_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest there is, after one that fails."""
    for name in list(MEASURED):
        monkeypatch.delitem(MEASURED, name)
    monkeypatch.setitem(MEASURED, "ngram", "tests.benchmarks.broken_section")
    monkeypatch.setitem(MEASURED, "loading", "tests.benchmarks.tiny_section")


@pytest.mark.usefixtures("two_sections")
def test_a_section_that_fails_is_told_of_and_the_others_run(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--quick", "--out", str(tmp_path)])

    assert done.exit_code == 1
    assert "the peer has gone away" in done.output
    page = (tmp_path / "performance.md").read_text()
    assert "Failed in the last run, so not renewed here: ngram." in page
    assert "## Sums\n\n1000 numbers." in page
    (row,) = read_result(tmp_path / "results/loading.json").section.rows
    assert len(row.ours) == len(row.theirs) == 2
    assert all(0 < seconds < 60 for seconds in row.ours)


@pytest.mark.usefixtures("two_sections")
def test_a_result_outlives_a_run_that_fails(tmp_path: Path) -> None:
    kept = (ROOT / "benchmarks/results/tuning.json").read_bytes()
    (tmp_path / "results").mkdir()
    (tmp_path / "results/tuning.json").write_bytes(kept)

    done = CliRunner().invoke(main, ["ngram", "--out", str(tmp_path)])

    assert done.exit_code == 1
    assert "## Tuning" in (tmp_path / "performance.md").read_text()
    assert (tmp_path / "results/tuning.json").read_bytes() == kept


def test_a_section_that_is_kept_is_not_run_but_told_how() -> None:
    done = CliRunner().invoke(main, ["tuning", "--quick"])

    assert done.exit_code == 2
    assert "lmscore tune nbest.jsonl" in done.output


def test_an_unknown_section_is_told_of() -> None:
    done = CliRunner().invoke(main, ["nonesuch"])

    assert done.exit_code == 2
    assert "no section 'nonesuch'" in done.output


def test_the_list_names_every_section() -> None:
    done = CliRunner().invoke(main, ["--list"])

    assert [line.split()[0] for line in done.output.splitlines()] == [*MEASURED, *KEPT]


def test_a_section_run_by_its_path_keeps_what_it_was_asked_for(tmp_path: Path) -> None:
    script, result = ROOT / "benchmarks/client_import.py", tmp_path / "client.json"
    options = ["--quick", "--rounds", "1"]

    subprocess.run([sys.executable, script, *options, "--json", result], check=True, cwd="/")

    kept = read_result(result)
    assert kept.command == "python -m benchmarks.client_import --quick --rounds 1"
    assert kept.sizes == {"rounds": 1}
    assert all(len(row.ours) == 1 for row in kept.section.rows)


def test_the_part_for_a_gpu_compares_networks_on_the_device_it_is_given() -> None:
    from benchmarks.network_scoring import Sizes, gpu_rows

    sizes = Sizes(
        units=8, vocabulary=64, sample=4, padded=1, matrix=16, rounds=1, threads=1, gpu="cpu"
    )

    rows = {row.what: row for row in gpu_rows(made_up_lists(2, 5), sizes)}

    ours = rows["cpu, 2 x 8 units, 64 words: lists, float32"]
    assert ours.figure is not None
    assert ours.figure > 0
    apart = rows["cpu, 2 x 8 units, 64 words: largest difference from one at a time, float32"]
    assert apart.ours[0] < 1e-4


def test_without_a_gpu_a_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from benchmarks.network_scoring import Sizes, gpu_rows

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    (row,) = gpu_rows(made_up_lists(1, 2), Sizes())

    assert row.note == "there is no GPU that torch can use here"
