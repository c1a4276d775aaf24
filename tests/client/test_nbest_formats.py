"""What each format of n-best lists refuses to read and to write, and which folder is whose."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

import pytest

from lmscore.client import Hypothesis, NBestList
from lmscore.client.nbest import (
    SCORE,
    Source,
    UnknownFormatError,
    UnwritableError,
    read_nbest,
    recognized,
    write_nbest,
)
from lmscore.client.nbest_formats.values import ACOUSTIC, LM
from lmscore.client.textfile import FileError

ONE = {"1best_recog/text": "u a\nv b\n", "1best_recog/score": "u -1\nv -2\n"}
KALDI = {"words_text": "u-1 a\n", "acwt": "u-1 1\n"}


def lay(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("format_name", "files", "problem"),
    [
        ("kaldi", {"words_text": "u-1 a\n"}, "expected words_text or text or words in the folder"),
        ("kaldi", {"acwt": "u-1 1\n"}, "expected words_text or text or words in the folder"),
        (
            "kaldi",
            {**KALDI, "words_text": "u1 a\n"},
            "words_text:1: expected a key utt-N, found u1",
        ),
        (
            "kaldi",
            {**KALDI, "words_text": "-1 a\n"},
            "words_text:1: expected a key utt-N, found -1",
        ),
        ("kaldi", {**KALDI, "words_text": "u-x a\n"}, "expected a key utt-N, found u-x"),
        ("kaldi", {**KALDI, "acwt": ""}, "acwt: expected a line for u-1.*the file ends"),
        ("kaldi", {**KALDI, "acwt": "\n\nv-1 1\n"}, "acwt:3: expected a line for u-1.*found v-1"),
        ("espnet", {"2best_recog/text": ""}, "expected a folder with 1best_recog in it"),
        (
            "espnet",
            {"1best_recog/text": "u a\nv b\nu c\n", "1best_recog/score": "u 1\nv 1\nu 1\n"},
            "text:3: u stands there twice",
        ),
        (
            "espnet",
            {**ONE, "2best_recog/text": "v b\nu a\n", "2best_recog/score": "v 1\nu 1\n"},
            "2best_recog/text:2: u is not in the file beside it",
        ),
        (
            "espnet",
            {**ONE, "1best_recog/token": "u x\n"},
            "1best_recog/token:1: expected a line for v.*the file ends",
        ),
        ("srilm", {"u": "\n \n"}, "u: there are no hypotheses in it"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(
    tmp_path: Path, format_name: str, files: dict[str, str], problem: str
) -> None:
    with pytest.raises(FileError, match=problem):
        list(read_nbest(lay(tmp_path, files), format=format_name))


@pytest.mark.parametrize(
    ("format_name", "content", "problem"),
    [
        ("nemo", "a\t1\nno score\n", "nbest:2: expected text TAB score"),
        ("nemo", "a\t1\nb\tinf\n", "nbest:2: .*'inf' is not a finite number"),
        ("tsv", "id\tlm\tlm\ttext\nu\t1\t2\tx\n", "nbest:1: column 'lm' has no name, or one that"),
        ("tsv", "id\t\ttext\nu\t1\tx\n", "nbest:1: column '' has no name"),
        ("tsv", "id\tlm\tam\ttext\nu\t1\tx\n", "nbest:2: expected id TAB lm TAB am TAB text"),
        ("tsv", "\n", "there are no n-best lists in it"),
        ("csv", "utt,score,text\nu,1,x\n", "nbest:1: the first line has to name the columns: id,"),
        ("csv", "id,score,score,text\n", "nbest:1: column 'score' has no name, or one that"),
        ("csv", "id,score,text\nu,1,a, b\n", "nbest:2: 4 columns where the first line names 3"),
        ("csv", "id,score,text\n\nu,x,a\n", "nbest:3: column score: 'x' is not a finite number"),
        ("csv", 'id,score,text\nu,1,"a"b\n', "nbest:2: not comma-separated values"),
        ("csv", "", "there are no n-best lists in it"),
        ("moses", "0 ||| x ||| a[0]= 1 a= 2 3 ||| 1\n", r"feature a\[0\] stands there twice"),
        ("moses", "0 ||| x ||| = 1 ||| 1\n", "expected name= before the value '='"),
        ("mlm-scoring", '{3: {"hyp_1": {}}}', "nbest:1: 3 stands where an utterance's id should"),
        ("mlm-scoring", "{" + "[" * 100_000, "nbest:1: not JSON that can be read: nested too"),
        ("mlm-scoring", '{"a": {"ref": 1, "hyp_1": {"score": 1, "text": ""}}}', '"ref" must be'),
        ("mlm-scoring", "[]", "nbest:1: expected '{', found '\\['"),
        ("mlm-scoring", "{}", "there are no n-best lists in it"),
    ],
)
def test_what_is_wrong_with_a_file_of_a_named_format_is_said(
    tmp_path: Path, format_name: str, content: str, problem: str
) -> None:
    (tmp_path / "nbest").write_text(content)

    with pytest.raises(FileError, match=problem):
        list(read_nbest(tmp_path / "nbest", format=format_name, beam_size=2))


def list_with(
    features: dict[str, float], *, name: str = "u", columns: tuple[str, ...] = ()
) -> NBestList:
    return NBestList(name, (Hypothesis("a b", features, columns),))


def format_of(path: Path) -> str:
    with closing(Source(str(path))) as source:
        return recognized(source)


BOTH = {ACOUSTIC: -1.0, LM: -2.0}
EVERY_FORMAT = ["csv", "espnet", "jsonl", "kaldi", "mlm-scoring", "moses", "nemo", "srilm", "tsv"]


@pytest.mark.parametrize(
    ("format_name", "nbest", "problem"),
    [
        ("csv", list_with({"rank": 1.0}), "cannot have a feature named 'rank'"),
        ("csv", list_with({}, name="a\nb"), "has a line end"),
        ("kaldi", list_with({}), "list u has no scores"),
        ("kaldi", list_with({"withlm": 1.0}), "cannot have a feature named 'withlm'"),
        ("kaldi", list_with({"lmonly": 1.0}), "cannot have a feature named 'lmonly'"),
        ("kaldi", list_with({"a/b": 1.0}), "cannot have a feature named 'a/b'"),
        ("kaldi", list_with({"": 1.0}), "cannot have a feature named ''"),
        ("kaldi", list_with({"rnn.gz": 1.0}), "cannot have a feature named 'rnn.gz'"),
        (
            "kaldi",
            NBestList("u", (Hypothesis("a", {LM: 1.0}), Hypothesis("b", {ACOUSTIC: 1.0}))),
            "list u: its hypotheses have different features",
        ),
        ("espnet", list_with({LM: 1.0}), "ESPnet's format has room for one score"),
        (
            "espnet",
            NBestList("u", (Hypothesis("a", {SCORE: 1.0}, ("a",)), Hypothesis("b", {SCORE: 1.0}))),
            "list u: only some of its hypotheses have tokens",
        ),
        ("nemo", list_with(BOTH), "NeMo's format has room for one score"),
        ("srilm", list_with({SCORE: 1.0}), "SRILM has room for the features acoustic and lm"),
        ("srilm", list_with(BOTH, name="a/b"), "list 'a/b' cannot be a file of that name"),
        ("srilm", list_with(BOTH, name=""), "list '' cannot be a file of that name"),
        ("srilm", list_with(BOTH, name=".u"), "list '.u' cannot be a file of that name"),
        ("srilm", list_with(BOTH, name="u.gz"), "list 'u.gz' cannot be a file of that name"),
        ("moses", list_with({SCORE: 1.0}, name=""), "Moses lists need an id"),
        *((name, NBestList("u", ()), "list u has no hypotheses") for name in EVERY_FORMAT),
    ],
)
def test_what_a_format_has_no_room_for_is_said(
    tmp_path: Path, format_name: str, nbest: NBestList, problem: str
) -> None:
    with pytest.raises(UnwritableError, match=problem):
        write_nbest(tmp_path / "out", [nbest], format=format_name)


def test_spreadsheets_are_read_with_their_quotes_and_columns_in_any_order(tmp_path: Path) -> None:
    rows = 'text,id,am,total\r\n"a, ""b""\r\nc",u,-1,7\r\n\r\nd,u,-2,8\r\n'
    (tmp_path / "nbest").write_text(f"\ufeff{rows}", encoding="utf-8", newline="")

    assert format_of(tmp_path / "nbest") == "csv"
    [nbest] = read_nbest(tmp_path / "nbest")
    assert nbest.id == "u"
    assert [each.text for each in nbest.hypotheses] == ['a, "b"\nc', "d"]
    assert [each.features for each in nbest.hypotheses] == [{"am": -1.0}, {"am": -2.0}]


def test_fairseqs_output_is_known_though_not_read(tmp_path: Path) -> None:
    (tmp_path / "nbest").write_text("S-0\tein haus\nH-0\t-0.25\ta house\n")

    with pytest.raises(UnknownFormatError, match=r"grep \^H- FILE"):
        list(read_nbest(tmp_path / "nbest"))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("format_name", EVERY_FORMAT)
def test_numbers_that_no_reader_takes_are_not_written(
    tmp_path: Path, format_name: str, number: float
) -> None:
    features = {ACOUSTIC: 1.0, LM: number} if format_name == "srilm" else {SCORE: number}
    with pytest.raises(UnwritableError, match=f"list u, .*{number} is not a finite number"):
        write_nbest(tmp_path / "out", [list_with(features)], format=format_name)


@pytest.mark.parametrize(
    ("files", "format_name"),
    [
        (ONE, "espnet"),
        (KALDI, "kaldi"),
        ({"text": "u-1 a\n", "lm_cost": "u-1 1\n"}, "kaldi"),
        ({"words": "u-1 a\n", "lmwt.rnn": "u-1 1\n"}, "kaldi"),
        ({"u": "-1 -2 1 x\n"}, "srilm"),
        ({".hidden": "words\n", "u": "-1 -2 0\n"}, "srilm"),
    ],
)
def test_a_folder_is_told_by_its_files(
    tmp_path: Path, files: dict[str, str], format_name: str
) -> None:
    assert format_of(lay(tmp_path, files)) == format_name


@pytest.mark.parametrize(
    "files", [{}, {"words_text": "u-1 a\n"}, {"acwt": "u-1 1\n"}, {"u": "-1\t-2\t1\tx\n"}]
)
def test_a_folder_of_anything_else_is_of_no_known_format(
    tmp_path: Path, files: dict[str, str]
) -> None:
    with pytest.raises(UnknownFormatError):
        format_of(lay(tmp_path, files))


def test_what_is_of_no_known_format_is_told_with_the_line_if_it_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "nbest").write_text("no list\n")
    with pytest.raises(UnknownFormatError) as of_file:
        format_of(tmp_path / "nbest")
    with pytest.raises(UnknownFormatError) as of_folder:
        format_of(tmp_path)

    assert (of_file.value.line, of_folder.value.line) == (1, None)


def test_columns_may_have_numbers_as_names(tmp_path: Path) -> None:
    (tmp_path / "nbest").write_text("id\t1\t2\ttext\nu\t-1\t-2\tx\n")

    assert list(read_nbest(tmp_path / "nbest")) == [
        NBestList("u", (Hypothesis("x", {"1": -1.0, "2": -2.0}),))
    ]


@pytest.mark.parametrize(
    ("format_name", "rows"),
    [
        ("moses", ["u ||| a ||| x= 1 ||| -1", "u ||| b ||| x= 2 ||| -2"]),
        ("nemo", ["a\t-1", "b\t-2"]),
        ("tsv", ["u\t-1\ta", "u\t-2\tb"]),
        ("srilm", ["-1 -2 1 a", "-1 -2 1 b"]),
        ("jsonl", ['{"id": "u", "hyps": [["a", 1]]}', '{"id": "v", "hyps": [["b", 1]]}']),
    ],
)
def test_blank_lines_are_passed_over(tmp_path: Path, format_name: str, rows: list[str]) -> None:
    for name, content in (
        ("dense", "\n".join(rows)),
        ("blank", "\n".join(["", rows[0], " ", "", rows[1], "  "])),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "u").write_text(content)
    dense, blank = (
        list(read_nbest(tmp_path / name / "u", format=format_name, beam_size=2))
        for name in ("dense", "blank")
    )

    assert blank == dense
    assert [each.text for nbest in blank for each in nbest.hypotheses] == ["a", "b"]


def test_a_file_beside_costs_is_of_kaldi_only_if_it_is_called_words(tmp_path: Path) -> None:
    lay(tmp_path, {**KALDI, "nbest": "u\t1\tx\n"})

    assert format_of(tmp_path / "words_text") == "kaldi"
    assert format_of(tmp_path / "nbest") == "tsv"


def test_tokens_of_espnet_are_kept(tmp_path: Path) -> None:
    lists = [
        list_with({SCORE: -1.0}, columns=("_a _b",)),
        list_with({SCORE: 2.0}, name="v", columns=("c",)),
    ]
    write_nbest(tmp_path / "out", lists, format="espnet")

    assert (tmp_path / "out/1best_recog/token").read_text() == "u _a _b\nv c\n"
    assert list(read_nbest(tmp_path / "out")) == lists


def test_costs_of_kaldi_are_negated_scores_of_hypotheses_from_one(tmp_path: Path) -> None:
    several = NBestList("u", (Hypothesis("a b", {LM: -1.5}), Hypothesis("", {LM: 0.5})))
    write_nbest(tmp_path / "out", [several, list_with({LM: 2.0}, name="v")], format="kaldi")

    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert written == {
        "words_text": "u-1 a b\nu-2 \nv-1 a b\n",
        "lmwt.lmonly": "u-1 1.5\nu-2 -0.5\nv-1 -2.0\n",
    }


@pytest.mark.parametrize("format_name", ["jsonl", "mlm-scoring"])
def test_letters_stand_in_json_as_they_are(tmp_path: Path, format_name: str) -> None:
    nbest = NBestList("ö", (Hypothesis("ü 一", {SCORE: 1.0}),))
    write_nbest(tmp_path / "out", [nbest], format=format_name)

    assert "ü 一" in (tmp_path / "out").read_text(encoding="utf-8")


def test_scores_of_srilm_are_written_in_log10(tmp_path: Path) -> None:
    features = {ACOUSTIC: -math.log(10), LM: math.log(100)}
    write_nbest(tmp_path / "out", [list_with(features)], format="srilm")

    assert (tmp_path / "out/u").read_text() == "-1.0 2.0 2 a b\n"


def test_numbers_of_words_that_srilm_told_are_kept(tmp_path: Path) -> None:
    (tmp_path / "u").write_text("-1 -2 5 a b\n-1 -2 1 a\n")
    lists = list(read_nbest(tmp_path / "u", format="srilm"))
    write_nbest(tmp_path / "out", lists, format="srilm")

    lines = (tmp_path / "out/u").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["5 a b", "1 a"]


def test_how_much_of_a_folder_was_read_is_known(tmp_path: Path) -> None:
    files = {"u": "-1 -2 1 x\n", "v": "-1 -2 2 x y\n"}
    source = Source(str(lay(tmp_path, files)))
    lists = read_nbest(source, format="srilm")

    assert (source.size, source.position) == (sum(map(len, files.values())), 0)
    next(lists)
    assert source.position == len(files["u"])
    list(lists)
    assert source.position == source.size
    assert source.position == source.size  # however often one asks


def test_how_much_of_a_file_was_read_is_known(tmp_path: Path) -> None:
    (tmp_path / "nbest").write_text("u\t-1\tx\n")
    with closing(Source(str(tmp_path / "nbest"))) as source:
        assert source.size == 7
        list(read_nbest(source, format="tsv"))
        assert source.position == 7
