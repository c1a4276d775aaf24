from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.client import Hypothesis, NBestList
from lmscore.client.nbest import SCORE, UnknownFormatError, read_nbest
from lmscore.client.textfile import FileError, LineReader

finite = st.floats(allow_nan=False, allow_infinity=False)
line_text = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"))
any_text = st.text(st.characters(codec="utf-8"))
tsv_id = st.text(st.characters(exclude_characters="\r\n\t\ufeff{", codec="utf-8"), min_size=1)


def nbest_lists(
    ids: st.SearchStrategy[str], texts: st.SearchStrategy[str]
) -> st.SearchStrategy[list[NBestList]]:
    hypothesis = st.builds(Hypothesis, texts, finite.map(lambda score: {SCORE: score}))
    nbest = st.builds(NBestList, ids, st.lists(hypothesis, min_size=1, max_size=4).map(tuple))
    return st.lists(nbest, min_size=1, max_size=5, unique_by=lambda each: each.id)


def read(tmp_path: Path, content: str) -> list[NBestList]:
    path = tmp_path / "nbest"
    path.write_text(content, encoding="utf-8", newline="")
    return list(read_nbest(LineReader(str(path))))


@given(lists=nbest_lists(any_text, any_text), reference=st.none() | any_text)
def test_json_lines_round_trip(
    tmp_path_factory: pytest.TempPathFactory, lists: list[NBestList], reference: str | None
) -> None:
    lists = [NBestList(each.id, each.hypotheses, reference) for each in lists]
    content = "".join(
        json.dumps(
            {
                "id": each.id,
                "ref": each.reference,
                "hyps": [[hyp.text, hyp.features[SCORE]] for hyp in each.hypotheses],
            }
        )
        + "\n"
        for each in lists
    )
    assert read(tmp_path_factory.mktemp("nbest"), content) == lists


@given(lists=nbest_lists(tsv_id, line_text))
def test_tsv_round_trips(tmp_path_factory: pytest.TempPathFactory, lists: list[NBestList]) -> None:
    content = "".join(
        f"{each.id}\t{hyp.features[SCORE]!r}\t{hyp.text}\n"
        for each in lists
        for hyp in each.hypotheses
    )
    assert read(tmp_path_factory.mktemp("nbest"), content) == lists


def test_lists_may_be_ragged_and_hypotheses_empty(tmp_path: Path) -> None:
    lists = read(tmp_path, "a\t-1\tx y\na\t-2\t\n\nb\t0\tz\ttab\n")

    assert [(each.id, [hyp.text for hyp in each.hypotheses]) for each in lists] == [
        ("a", ["x y", ""]),
        ("b", ["z\ttab"]),
    ]


def test_lists_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "nbest"
    path.write_text('{"id": "a", "hyps": [["x", 1]]}\nbroken\n')
    lists = read_nbest(LineReader(str(path)))

    assert next(lists).hypotheses[0].features == {SCORE: 1.0}
    with pytest.raises(FileError, match="nbest:2: not JSON"):
        next(lists)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON: .* at column 2"),
        ('{"hyps": [["x", 1]]}', '"id" must be a string'),
        ('{"id": 3, "hyps": [["x", 1]]}', '"id" must be a string'),
        ('{"id": "a", "ref": 3, "hyps": [["x", 1]]}', '"ref" must be a string'),
        ('{"id": "a"}', "at least one"),
        ('{"id": "a", "hyps": []}', "at least one"),
        ('{"id": "a", "hyps": [["x", 1], ["x"]]}', r'"hyps"\[1\] must be \[text, score\]'),
        ('{"id": "a", "hyps": [["x", "1"]]}', "must be"),
        ('{"id": "a", "hyps": [["x", true]]}', "must be"),
        ('{"id": "a", "hyps": [["x", NaN]]}', "NaN is not a finite score"),
        ('{"id": "a", "hyps": [["x", -Infinity]]}', "-Infinity is not a finite score"),
        ('{"id": "a", "hyps": [["x", 1e999]]}', "not a finite score"),
        ('{"id": "a", "hyps": [["x", 1' + "0" * 400 + "]]}", "not a finite score"),
        ('{"id": "a", "hyps": [["\\ud800", 1]]}', "half a surrogate pair"),
        ('{"id": "a", "hyps": ' + "[" * 100_000, "not JSON"),
        ('["a"]', "not a JSON object"),
        ("b\tx\ty", "'x' is not a finite score"),
        ("b\tnan\ty", "'nan' is not a finite score"),
        ("b\t-inf\ty", "'-inf' is not a finite score"),
        ("b\t1", "expected id TAB score TAB text"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(tmp_path: Path, line: str, problem: str) -> None:
    good = '{"id": "ok", "hyps": [["x", 1]]}' if line.startswith(("{", "[")) else "a\t1\tx"

    with pytest.raises(FileError, match=f"nbest:2: .*{problem}"):
        read(tmp_path, f"{good}\n{line}\n")


def test_a_list_that_is_torn_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nbest:3: list a goes on here"):
        read(tmp_path, "a\t1\tx\nb\t1\ty\na\t1\tz\n")


@pytest.mark.parametrize("content", ["just words\n", "0 ||| a b ||| lm= 1 ||| 2\n", "a\tb\tc\n"])
def test_an_unknown_format_is_told_with_those_that_are_known(tmp_path: Path, content: str) -> None:
    with pytest.raises(UnknownFormatError, match=r"jsonl: .*tsv: id TAB score TAB text"):
        read(tmp_path, content)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_lists_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(FileError, match="no n-best lists"):
        read(tmp_path, content)
