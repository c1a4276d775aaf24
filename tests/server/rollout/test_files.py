"""What a repository's files must be, said in the words of whoever wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmscore.models.errors import ModelFormatError
from lmscore.server.rollout.layout import scan
from lmscore.server.rollout.probe import DEFAULT_TOLERANCE, Probe, read_probe
from lmscore.server.rollout.serving import Serving, ServingError, read_serving


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not an object"),
        ('{"label": {}}', "there is no field 'label'"),
        ('{"labels": []}', "labels: not an object"),
        ('{"labels": {"a b": 1}}', "labels: 'a b' is not a label"),
        ('{"labels": {"stable": 0}}', "labels.stable: 0 is not a version"),
        ('{"labels": {"stable": true}}', "labels.stable: True is not a version"),
        ('{"labels": {"stable": "1"}}', "labels.stable: '1' is not a version"),
        ('{"loaded": 1}', "loaded: not a list of versions"),
        ('{"unloaded": [1, -1]}', "unloaded: -1 is not a version"),
    ],
)
def test_what_is_wrong_with_a_serving_file_is_said(
    tmp_path: Path, content: str, problem: str
) -> None:
    path = tmp_path / "serving.json"
    path.write_text(content)

    with pytest.raises(ServingError, match=f"serving.json: {problem}"):
        read_serving(path)


def test_a_serving_file_names_versions_and_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    assert read_serving(path) == Serving()
    path.write_text('{"labels": {"stable": 1}, "loaded": [2], "unloaded": [3]}')

    serving = read_serving(path)
    assert serving == Serving({"stable": 1}, frozenset({2}), frozenset({3}))
    assert serving.named == {1, 2}


def test_a_serving_file_that_is_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"serving.json: Is a directory"):
        read_serving(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not JSON"),
        ("[1]", "not an object of text, log_prob and tolerance"),
        ('{"text": "a", "log_prob": 1, "more": 1}', "not an object of text, log_prob and"),
        ('{"text": 1, "log_prob": 1}', "text is not a string"),
        ('{"text": "a"}', "log_prob is not a finite number"),
        ('{"text": "a", "log_prob": true}', "log_prob is not a finite number"),
        ('{"text": "a", "log_prob": NaN}', "log_prob is not a finite number"),
        ('{"text": "a", "log_prob": "1"}', "log_prob is not a finite number"),
        ('{"text": "a", "log_prob": 1, "tolerance": -0.1}', "tolerance is below 0"),
        ('{"text": "a", "log_prob": 1, "tolerance": null}', "tolerance is not a finite number"),
    ],
)
def test_what_is_wrong_with_a_probe_is_said(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "probe.json").write_text(content)

    with pytest.raises(ModelFormatError, match=problem):
        read_probe(tmp_path)


def test_a_probe_is_what_its_file_says_and_may_be_absent(tmp_path: Path) -> None:
    assert read_probe(tmp_path) is None
    (tmp_path / "probe.json").write_text(json.dumps({"text": "a", "log_prob": -1}))
    assert read_probe(tmp_path) == Probe("a", -1.0, DEFAULT_TOLERANCE)
    (tmp_path / "probe.json").write_text('{"text": "", "log_prob": -1.5, "tolerance": 0}')
    assert read_probe(tmp_path) == Probe("", -1.5, 0.0)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["model.arpa"], "files, but no model: a model's files lie in NAME/VERSION/"),
        (["news/model.arpa"], "news: no version in it: a model's files lie in NAME/VERSION/"),
        (["v1/model.arpa"], "v1: no version in it"),
        (["README", "news/1/model.arpa", "news/notes"], None),
        ([".news/model.arpa", "news/.1/model.arpa"], None),
        ([], None),
    ],
)
def test_a_model_that_lies_where_no_version_is_looked_for_is_told(
    tmp_path: Path, files: list[str], problem: str | None
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()

    problems = scan(tmp_path).problems
    assert [each.partition(problem or "")[0] for each in problems] == ([""] if problem else [])


def test_what_does_not_belong_into_a_repository_is_told_and_the_rest_is_found(
    tmp_path: Path,
) -> None:
    for name in ("m/1", "m/2", "m/3", "m/0", "m/new", "m/.4", "two words", ".hidden/1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "m/1/model.arpa").write_text("")
    (tmp_path / "m/2/a").write_text("")
    (tmp_path / "m/2/b").write_text("")
    (tmp_path / "m/3/probe.json").write_text("")
    (tmp_path / "m/serving.json").write_text("[]")

    found = scan(tmp_path)
    [(name, model)] = found.models.items()
    assert (name, sorted(model.versions), model.serving) == ("m", [1, 2, 3], None)
    assert model.versions[1].path == tmp_path / "m/1/model.arpa"
    assert not model.versions[1].problem
    assert model.versions[2].problem.startswith("it has 2 files (a, b) and no ")
    assert model.versions[3].problem.startswith("it is empty; a version is one n-gram file")
    assert sorted(found.problems) == [
        "m/0: not a version, which is a number from 1",
        "m/new: not a version, which is a number from 1",
        "m/serving.json: not an object",
        "two words: not a model name",
    ]
