"""Reading what was written gives the same lists, in every format."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscore.client import Hypothesis, NBestList
from lmscore.client.nbest import FORMATS, SCORE, UnwritableError, read_nbest, write_nbest

few = settings(max_examples=12, deadline=None)  # each writes files
finite = st.floats(allow_nan=False, allow_infinity=False)
small = st.floats(-1e6, 1e6)
any_text = st.text(st.characters(codec="utf-8"))
line_text = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"))
odd_text = st.sampled_from(["", " ", "a  b", " a", "b ", "\x85x\u2028", "|", "||||", "a= 1", "7"])
texts = odd_text | line_text.filter(lambda text: "|||" not in text)
words = st.text(st.characters(exclude_characters=" \t\r\n\0\ufeff|", codec="utf-8"), min_size=1)
file_names = words.filter(
    lambda name: "/" not in name and not name.startswith(".") and len(name.encode()) < 100
).filter(lambda name: not name.endswith((".gz", ".bz2", ".xz")))
feature_names = st.sampled_from(["lm", "am", "TM[0]", "TM[1]", "TM[2]", "TM", "a:", "b=", "é"])


def scored(text: st.SearchStrategy[str]) -> st.SearchStrategy[Hypothesis]:
    return st.builds(Hypothesis, text, finite.map(lambda score: {SCORE: score}))


def lists_of(
    ids: st.SearchStrategy[str], hypotheses: st.SearchStrategy[Hypothesis]
) -> st.SearchStrategy[list[NBestList]]:
    several = st.lists(hypotheses, min_size=1, max_size=4)
    twice = several.map(lambda each: tuple(each + each[:1]))  # duplicates are common
    nbest = st.builds(NBestList, ids, twice | several.map(tuple))
    return st.lists(nbest, min_size=1, max_size=4, unique_by=lambda each: each.id)


def with_references(lists: list[NBestList]) -> list[NBestList]:
    return [
        NBestList(each.id, each.hypotheses, each.id if i % 2 else None)
        for i, each in enumerate(lists)
    ]


def again(
    factory: pytest.TempPathFactory, lists: list[NBestList], format_name: str, **how: int
) -> list[NBestList]:
    path = factory.mktemp("written") / "nbest"
    write_nbest(path, lists, format=format_name)
    return list(read_nbest(path, format=format_name, **how))


named = st.builds(
    Hypothesis,
    any_text,
    st.dictionaries(any_text, finite),
    st.lists(any_text, max_size=2).map(tuple),
)


@few
@given(lists=lists_of(any_text, scored(any_text) | named).map(with_references))
def test_json_lines(tmp_path_factory: pytest.TempPathFactory, lists: list[NBestList]) -> None:
    assert again(tmp_path_factory, lists, "jsonl") == lists


@few
@given(lists=lists_of(any_text, scored(any_text)).map(with_references))
def test_mlm_scoring(tmp_path_factory: pytest.TempPathFactory, lists: list[NBestList]) -> None:
    assert again(tmp_path_factory, lists, "mlm-scoring") == lists


tsv_ids = st.text(st.characters(exclude_characters="\r\n\t\ufeff", codec="utf-8"), min_size=1)


@few
@given(lists=lists_of(tsv_ids.filter(lambda name: name != "id"), scored(line_text)))
def test_plain_tsv(tmp_path_factory: pytest.TempPathFactory, lists: list[NBestList]) -> None:
    assert again(tmp_path_factory, lists, "tsv") == lists


@few
@given(data=st.data(), names=st.lists(feature_names, min_size=2, max_size=4, unique=True))
def test_tsv_with_named_columns(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, names: list[str]
) -> None:
    features = st.fixed_dictionaries(dict.fromkeys([SCORE, *names], finite))
    lists = data.draw(lists_of(tsv_ids, st.builds(Hypothesis, line_text, features)))
    assert again(tmp_path_factory, lists, "tsv") == lists


csv_ids = st.text(st.characters(exclude_characters="\r\n\ufeff", codec="utf-8"), min_size=1)


@few
@given(data=st.data(), names=st.lists(feature_names, max_size=4, unique=True))
def test_csv(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, names: list[str]
) -> None:
    features = st.fixed_dictionaries(dict.fromkeys([*names, SCORE], finite))
    texts = line_text | st.sampled_from(['a, "b"', '"', ",", " a", "''"])
    lists = data.draw(lists_of(csv_ids, st.builds(Hypothesis, texts, features)))
    assert again(tmp_path_factory, lists, "csv") == lists


moses = st.builds(
    Hypothesis,
    texts,
    st.dictionaries(feature_names | st.just(SCORE), finite),
    st.lists(texts, max_size=2).map(tuple),
)


@few
@given(lists=lists_of(words | st.just("0"), moses))
def test_moses(tmp_path_factory: pytest.TempPathFactory, lists: list[NBestList]) -> None:
    assert again(tmp_path_factory, lists, "moses") == lists


@few
@given(texts=st.lists(st.tuples(line_text, finite), min_size=1), beam_size=st.integers(1, 3))
def test_nemo(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, float]], beam_size: int
) -> None:
    hypotheses = [Hypothesis(text, {SCORE: score}) for text, score in texts * beam_size]
    lists = [
        NBestList(str(i), tuple(hypotheses[i * beam_size : (i + 1) * beam_size]))
        for i in range(len(texts))
    ]
    assert again(tmp_path_factory, lists, "nemo", beam_size=beam_size) == lists


@few
@given(lists=lists_of(file_names, st.builds(Hypothesis, texts, st.tuples(small, small).map(
    lambda pair: {"acoustic": pair[0], "lm": pair[1]}))))  # fmt: skip
def test_srilm(tmp_path_factory: pytest.TempPathFactory, lists: list[NBestList]) -> None:
    found = again(tmp_path_factory, lists, "srilm")

    lists = sorted(lists, key=lambda each: each.id)
    assert [each.id for each in found] == [each.id for each in lists]
    for mine, theirs in zip(found, lists, strict=True):
        assert [each.text for each in mine.hypotheses] == [each.text for each in theirs.hypotheses]
        for hypothesis, other in zip(mine.hypotheses, theirs.hypotheses, strict=True):
            assert hypothesis.features == pytest.approx(other.features, rel=1e-15)


kaldi_texts = texts
kaldi_names = st.sampled_from(["acoustic", "lm", "graph", "rnn", "é"])


@few
@given(data=st.data(), names=st.sets(kaldi_names, min_size=1))
def test_kaldi(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, names: set[str]
) -> None:
    features = st.fixed_dictionaries(dict.fromkeys(sorted(names), finite))
    lists = data.draw(lists_of(words, st.builds(Hypothesis, kaldi_texts, features)))
    assert again(tmp_path_factory, lists, "kaldi") == lists


@few
@given(lists=lists_of(words, scored(texts)), with_tokens=st.booleans())
def test_espnet(
    tmp_path_factory: pytest.TempPathFactory, lists: list[NBestList], with_tokens: bool
) -> None:
    if with_tokens:
        lists = [
            NBestList(
                each.id,
                tuple(Hypothesis(h.text, h.features, (f"▁{h.text}",)) for h in each.hypotheses),
            )
            for each in lists
        ]
    assert again(tmp_path_factory, lists, "espnet") == lists


two_features = Hypothesis("x", {SCORE: 1.0, "lm": 2.0})


@pytest.mark.parametrize(
    ("format_name", "nbest", "problem"),
    [
        *((name, NBestList("a", ()), "no hypotheses") for name in FORMATS),
        *(
            (name, NBestList("a", (two_features,)), "room for one score")
            for name in ("mlm-scoring", "nemo", "espnet")
        ),
        ("srilm", NBestList("a", (two_features,)), "room for the features acoustic and lm"),
        ("srilm", NBestList("a/b", (two_features,)), "cannot be a file"),
        ("moses", NBestList("a", (Hypothesis("x ||| y", {SCORE: 1.0}),)), "ends a column"),
        ("moses", NBestList("a", (Hypothesis("x\ny", {SCORE: 1.0}),)), "line end"),
        ("moses", NBestList("a", (Hypothesis("x", {"my lm": 1.0}),)), "named 'my lm'"),
        ("tsv", NBestList("a\tb", (Hypothesis("x", {SCORE: 1.0}),)), "has a tab"),
        ("tsv", NBestList("a", (Hypothesis("x", {"total": 1.0}),)), "named 'total'"),
        ("tsv", NBestList("a", (two_features, Hypothesis("y", {SCORE: 1.0}))), "JSON lines"),
        ("kaldi", NBestList("a b", (Hypothesis("x", {"lm": 1.0}),)), "is not one word"),
        ("kaldi", NBestList("a", (Hypothesis("x", {"a/b": 1.0}),)), "named 'a/b'"),
    ],
)
def test_what_a_format_cannot_say_is_refused(
    tmp_path: Path, format_name: str, nbest: NBestList, problem: str
) -> None:
    with pytest.raises(UnwritableError, match=problem):
        write_nbest(tmp_path / "nbest", [nbest], format=format_name)
