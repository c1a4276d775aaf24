from __future__ import annotations

import gzip
import io
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lmscore.client import Hypothesis, NBestList
from lmscore.client.nbest import SCORE, Source, UnknownFormatError, read_nbest, write_nbest
from lmscore.client.nbest_formats import blocks
from lmscore.client.textfile import FileError, LineReader


def read(tmp_path: Path, content: str) -> list[NBestList]:
    path = tmp_path / "nbest"
    path.write_text(content, encoding="utf-8", newline="")
    return list(read_nbest(LineReader(str(path))))


def test_lists_may_be_ragged_and_hypotheses_empty(tmp_path: Path) -> None:
    lists = read(tmp_path, "a\t-1\tx y\na\t-2\t\n\nb\t0\tz\ttab\n")

    assert [(each.id, [hyp.text for hyp in each.hypotheses]) for each in lists] == [
        ("a", ["x y", ""]),
        ("b", ["z\ttab"]),
    ]


def test_lists_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "nbest"
    path.write_text('{"id": "a", "hyps": [["x", 1]]}\nbroken\n')
    lists = read_nbest(path)

    assert next(lists).hypotheses[0].features == {SCORE: 1.0}
    with pytest.raises(FileError, match="nbest:2: not JSON"):
        next(lists)


def test_hypotheses_may_be_objects(tmp_path: Path) -> None:
    objects = '{"text": "x", "score": -1}, {"am": -2, "text": "y", "lm": 3.5}'
    [of_objects] = read(tmp_path, '{"id": "a", "hyps": [' + objects + "]}")
    [of_lists] = read(tmp_path, '{"id": "a", "hyps": [["x", -1], ["y", {"am": -2, "lm": 3.5}]]}')

    assert of_objects == of_lists


def test_what_was_written_is_read(tmp_path: Path) -> None:
    lists = [NBestList("a", (Hypothesis("x", {SCORE: -0.1}),), "the reference")]

    assert write_nbest(tmp_path / "out", lists) == 1
    assert list(read_nbest(tmp_path / "out")) == lists


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON: .* at column 2"),
        ('{"id": 1, "hyps": []}', '"id" must be a string'),
        ('{"hyps": [["x", 1]]}', '"id" must be a string'),
        ('{"id": "a", "ref": 3, "hyps": [["x", 1]]}', '"ref" must be a string'),
        ('{"id": "a", "hyps": []}', '"hyps" must be a list of at least one'),
        ('{"id": "a", "hyps": ["x"]}', r'"hyps"\[0\] must be \[text, score\]'),
        ('{"id": "a", "hyps": [["x", "1"]]}', "must be"),
        ('{"id": "a", "hyps": [{"words": "x", "score": 1}]}', "must be"),
        ('{"id": "a", "hyps": [{"text": "x", "score": "1"}]}', "'score' must be a number"),
        ('{"id": "a", "hyps": [["x", true]]}', "must be"),
        ('{"id": "a", "hyps": [["x", {"lm": "1"}]]}', "feature 'lm' must be a number"),
        ('{"id": "a", "hyps": [["x", {"lm": true}]]}', "feature 'lm' must be a number"),
        ('{"id": "a", "hyps": [["x", {}, [1]]]}', "must be"),
        ('{"id": "a", "hyps": [["x", NaN]]}', "NaN is not a finite number"),
        ('{"id": "a", "hyps": [["x", -Infinity]]}', "-Infinity is not a finite number"),
        ('{"id": "a", "hyps": [["x", 1e999]]}', "not a finite number"),
        ('{"id": "a", "hyps": [["x", 1' + "0" * 400 + "]]}", "not a finite number"),
        ('{"id": "a", "hyps": [["\\ud800", 1]]}', "half a surrogate pair"),
        ('{"id": "a", "hyps": ' + "[" * 100_000, "not JSON"),
        ('["a"]', "not a JSON object"),
        ("b\tx\ty", "the score: 'x' is not a finite number"),
        ("b\tnan\ty", "the score: 'nan' is not a finite number"),
        ("b\t-inf\ty", "the score: '-inf' is not a finite number"),
        ("b\t1", "expected id TAB score TAB text"),
        ("1 ||| x", r"expected id \|\|\| text"),
        ("1 ||| x ||| 3 ||| 1", "expected name= before the value '3'"),
        ("1 ||| x ||| lm= ||| 1", "feature lm has no value"),
        ("1 ||| x ||| lm= 1 d= 1 lm= 2 ||| 1", "feature lm stands there twice"),
        ("1 ||| x ||| lm= one ||| 1", "feature lm: 'one' is not a finite number"),
        ("1 ||| x ||| score= 1 ||| 1", 'a feature is named "score"'),
        ("1 ||| x ||| lm= 1 ||| much", "the total: 'much' is not a finite number"),
        ("-1 -2 x y", "expected acoustic-score lm-score"),
        ("-1 -2", "expected acoustic-score lm-score"),
        ("-1 nan 1 x", "the LM score: 'nan' is not a finite number"),
        ("NBestList1.0", "expected acoustic-score .* SRILM's"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(tmp_path: Path, line: str, problem: str) -> None:
    good = "a\t1\tx"
    if line.startswith(("{", "[")):
        good = '{"id": "ok", "hyps": [["x", 1]]}'
    elif "|||" in line:
        good = "0 ||| x ||| lm= 1 ||| -1"
    elif "\t" not in line:
        good = "-1 -2 1 x"

    with pytest.raises(FileError, match=f"nbest:2: .*{problem}"):
        read(tmp_path, f"{good}\n{line}\n")


@pytest.mark.parametrize(
    "content",
    [
        "a\t1\tx\nb\t1\ty\na\t1\tz\n",
        "a ||| x ||| lm= 1 ||| 1\nb ||| x ||| lm= 1 ||| 1\na ||| x ||| lm= 1 ||| 1\n",
    ],
)
def test_a_list_that_is_torn_apart_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(FileError, match=r"nbest:3: list a goes on here.*sort the file"):
        read(tmp_path, content)


def test_ids_are_known_again_among_many() -> None:
    seen = blocks.SeenIds()

    assert all(seen.add(f"utt{i}") for i in range(5000))
    assert not any(seen.add(f"utt{i}") for i in range(5000))


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_lists_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(FileError, match="no n-best lists"):
        read(tmp_path, content)


# --- which format it is ---


@pytest.mark.parametrize("content", ["just words\n", "a\tb\tc\n", "0 ||| one column\n"])
def test_an_unknown_format_is_told_with_those_that_are_known(tmp_path: Path, content: str) -> None:
    with pytest.raises(UnknownFormatError, match=r"--format; .*tsv: id TAB score TAB text"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "question"),
    [
        ("some text\t-1.5\n", "--beam-size N"),
        ("-1.5\tsome text\n", "put ids before them"),
        ("u1\t-1.5\t22\n", "which column is the score"),
        ("u1\t1\t-1.5\ta b\n", "which column is the score"),
        ("-1.5\t-22\ta b\n", "which column is the score"),
        ("u1\ta b\t-1.5\n", "the text has to stand last"),
    ],
)
def test_a_table_that_can_be_read_in_two_ways_is_asked_about(
    tmp_path: Path, content: str, question: str
) -> None:
    with pytest.raises(UnknownFormatError, match=f"nbest:1: not clear: .*{question}"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "ids", "features"),
    [
        ('\n{"id": "a", "hyps": [["x", 1]]}\n', ["a"], {"score": 1.0}),
        ('{"note": {"by": 1}, "id": "a", "hyps": [["x", 1]]}\n', ["a"], {"score": 1.0}),
        ('{"a": {"hyp_1": {"score": 1, "text": "x"}}}', ["a"], {"score": 1.0}),
        ('{\n  "a":\n {"ref": "y", "hyp_1": {"score": 1, "text": "x"}}\n}\n', ["a"], {"score": 1}),
        ("12\t-1.5\tx\n", ["12"], {"score": -1.5}),
        ("id\tlm\tam\ttext\na\t-1\t-2\tx\n", ["a"], {"lm": -1.0, "am": -2.0}),
        ("id\trank\ttotal\tam\ttext\na\t1\t-9\t-2\tx\n", ["a"], {"am": -2.0}),
        ("0 ||| x ||| lm= -1 -2 d: 0 ||| -3\n", ["0"],
         {"lm[0]": -1.0, "lm[1]": -2.0, "d": 0.0, "score": -3.0}),
        ("0 ||| x ||| lm= -1\n", ["0"], {"lm": -1.0}),
        ("-1 -2 1 x\n", ["nbest"],
         {"acoustic": pytest.approx(-2.302585093), "lm": pytest.approx(-4.605170186)}),
    ],
)  # fmt: skip
def test_a_format_is_told_by_the_first_lines(
    tmp_path: Path, content: str, ids: list[str], features: dict[str, float]
) -> None:
    lists = read(tmp_path, content)

    assert [each.id for each in lists] == ids
    assert lists[0].hypotheses[0].text == "x"
    assert lists[0].hypotheses[0].features == features


def test_a_beam_size_answers_the_question(tmp_path: Path) -> None:
    (tmp_path / "nbest").write_text("a\t-1\nb\t-2\n\t-3\nd\t-4\n")

    lists = list(read_nbest(tmp_path / "nbest", beam_size=2))
    assert [(each.id, [hyp.text for hyp in each.hypotheses]) for each in lists] == [
        ("0", ["a", "b"]),
        ("1", ["", "d"]),
    ]
    with pytest.raises(FileError, match="nbest:4: the last list has 1 rows instead of 3"):
        list(read_nbest(tmp_path / "nbest", beam_size=3))
    with pytest.raises(UnknownFormatError, match="--beam-size"):
        list(read_nbest(tmp_path / "nbest", format="nemo"))


def test_a_named_format_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "nbest").write_text("1\t2\t3\n")

    (nbest,) = read_nbest(tmp_path / "nbest", format="tsv")
    assert (nbest.id, nbest.hypotheses[0]) == ("1", Hypothesis("3", {SCORE: 2.0}))


# --- formats as their programs write them ---


def test_moses_columns_after_the_total_are_kept(tmp_path: Path) -> None:
    line = "0 ||| a b  ||| LM0= -1.5 TM0= -2.0 -3.0 |UNK|UNK= 0.0 ||| -4.0 ||| 0-0 1-1 ||| 2\n"

    (nbest,) = read(tmp_path, line)
    assert nbest.hypotheses[0].text == "a b "
    assert nbest.hypotheses[0].columns == ("0-0 1-1", "2")
    write_nbest(tmp_path / "again", [nbest], format="moses")
    assert (tmp_path / "again").read_text() == line


def test_an_empty_hypothesis_of_moses_is_read_with_one_blank_or_two(tmp_path: Path) -> None:
    lists = read(tmp_path, "0 ||| ||| lm= 1 ||| 2\n0 |||  ||| lm= 1 ||| 2\n")

    assert [each.text for each in lists[0].hypotheses] == ["", ""]


def test_kaldi_costs_become_scores(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("u-1-1 17 23\n")
    (tmp_path / "words_text").write_text("u-1-1 a b\nu-1-2 a\nv-1 \n")
    (tmp_path / "acwt").write_bytes(gzip.compress(b"u-1-1 100.5\nu-1-2 101\nv-1 0\n"))
    (tmp_path / "lmwt.nolm").write_text("u-1-1 1\nu-1-2 2\nv-1 3\n")
    (tmp_path / "lmwt.withlm").write_text("u-1-1 5\nu-1-2 5\nv-1 5\n")
    (tmp_path / "lmwt.lmonly").write_text("u-1-1 4\nu-1-2 3\nv-1 -2\n")
    (tmp_path / "lmwt.rnn").write_text("u-1-1 7\nu-1-2 8\nv-1 9\n")

    (tmp_path / "acwt").rename(tmp_path / "acwt.gz")
    first, second = read_nbest(tmp_path)
    assert first.id == "u-1"
    assert first.hypotheses[0] == Hypothesis(
        "a b", {"acoustic": -100.5, "graph": -1.0, "lm": -4.0, "rnn": -7.0}
    )
    assert [each.text for each in first.hypotheses] == ["a b", "a"]
    assert second.hypotheses[0].features["acoustic"] == 0.0
    assert list(read_nbest(tmp_path / "words_text")) == [first, second]


@pytest.mark.parametrize(
    ("costs", "problem"),
    [
        ("u-1 1\n", "acwt:1: expected a line for u-2.*the file ends"),
        ("u-1 1\nu-3 1\n", "acwt:2: expected a line for u-2.*found u-3"),
        ("u-1 1\nu-2 1\nu-3 1\n", "acwt:3: u-3 is not in the file beside it"),
        ("u-1 1\nu-2 x\n", "acwt:2: the value of u-2: 'x' is not a finite number"),
    ],
)
def test_archives_that_do_not_fit_are_refused(tmp_path: Path, costs: str, problem: str) -> None:
    (tmp_path / "words_text").write_text("u-1 a\nu-2 b\n")
    (tmp_path / "acwt").write_text(costs)

    with pytest.raises(FileError, match=problem):
        list(read_nbest(tmp_path))


def test_espnet_lists_may_be_ragged_and_scores_tensors(tmp_path: Path) -> None:
    for n, texts, scores in (
        (1, "u a b\nv c\n", "u tensor(-1.5)\nv tensor(-2., device='cuda:0')\n"),
        (2, "v \n", "v -3.0\n"),
    ):
        folder = tmp_path / f"{n}best_recog"
        folder.mkdir()
        (folder / "text").write_text(texts)
        (folder / "score").write_text(scores)

    first, second = read_nbest(tmp_path)
    assert first == NBestList("u", (Hypothesis("a b", {SCORE: -1.5}),))
    assert [each.text for each in second.hypotheses] == ["c", ""]
    assert [each.features[SCORE] for each in second.hypotheses] == [-2.0, -3.0]


def test_a_folder_of_srilm_lists_is_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "v").write_text("-1 -2 3 x <pause> y\n")
    (tmp_path / "u.gz").write_bytes(gzip.compress(b"-1.0 -0 0\n-3e1 -2 2 <pause> x y\n"))

    first, second = read_nbest(tmp_path)
    assert (first.id, second.id) == ("u", "v")
    assert [each.text for each in first.hypotheses] == ["", "<pause> x y"]
    assert first.hypotheses[1].columns == ("2",)  # its own count of words
    assert second.hypotheses[0].columns == ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"a": {"hyp_1": {"score": 1}}}', "utterance a, hyp_1 must be"),
        ('{"a": {"ref": "x"}}', 'utterance a has no "hyp_1"'),
        ('{\n"a": {"hyp_1": {"score": NaN, "text": ""}}}', "nbest:2: NaN"),
        ('{"a": {"hyp_1": {"score": 1, "text": ""}}', "it ends early"),
        ('{"a": {"hyp_1": {"score": 1, "text": ""}}} 1', "something follows"),
        ('{"a": {"hyp_1": {"score": 1, "text": ""}},\n"b": 3}', "nbest:2: utterance b must be"),
        ('{"a": {"hyp_1": ', "not JSON"),
    ],
)
def test_what_is_wrong_with_mlm_scoring_json_is_said(
    tmp_path: Path, content: str, problem: str
) -> None:
    with pytest.raises(FileError, match=problem):
        read(tmp_path, content)


def test_a_json_object_of_any_size_is_read_an_utterance_at_a_time(tmp_path: Path) -> None:
    text = "ü" * 50_000  # of two bytes each: pieces end within characters and utterances
    entries = (f'"u{i}": {{"hyp_1": {{"score": -{i}, "text": "{text}"}}}}' for i in range(20))
    (tmp_path / "nbest").write_text("{" + ",\n".join(entries) + "}")

    with closing(Source(str(tmp_path / "nbest"))) as source:
        for i, nbest in enumerate(read_nbest(source, format="mlm-scoring")):
            assert nbest == NBestList(f"u{i}", (Hypothesis(text, {SCORE: -i}),))
            assert source.size is not None
            assert 0 < source.position <= source.size * (i + 5) / 20  # no more is in memory
    assert i == 19


@pytest.mark.parametrize("format_name", ["jsonl", "mlm-scoring", "moses", "tsv"])
def test_streams_are_recognized_on_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_name: str
) -> None:
    lists = [NBestList(str(i), (Hypothesis("a b", {SCORE: -1.5}),)) for i in range(3)]
    write_nbest(tmp_path / "nbest", lists, format=format_name)
    packed = io.BytesIO(gzip.compress((tmp_path / "nbest").read_bytes()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(packed))

    assert list(read_nbest("-")) == lists
