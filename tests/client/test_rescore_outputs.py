"""What ``lmscore rescore`` writes, with one model and with several."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from lmscore.client import Hypothesis, NBestList
from lmscore.client.nbest import read_nbest, write_nbest
from tests.client.commands import Lmscore, records
from tests.client.fake_server import FakeServer

# A word of n letters has log-probability -n/2, the end -1.
LISTS = [
    NBestList(
        "u1",
        (Hypothesis("abcd", {"score": -1.0}), Hypothesis("a", {"score": -1.5})),
    ),
    NBestList("u2", (Hypothesis("", {"score": -0.5}),)),
]

TABLE = (
    "id\trank\ttotal\tscore\tfake\ttext\n"
    "u1\t1\t-3.0\t-1.5\t-1.5\ta\nu1\t2\t-4.0\t-1.0\t-3.0\tabcd\n"
    "u2\t1\t-1.5\t-0.5\t-1.0\t\n"
)
JSON_LINES = (
    '{"id": "u1", "hyps": [["abcd", {"score": -1.0, "fake": -3.0}],'
    ' ["a", {"score": -1.5, "fake": -1.5}]]}\n'
    '{"id": "u2", "hyps": [["", {"score": -0.5, "fake": -1.0}]]}\n'
)


@pytest.fixture
def nbest(tmp_path: Path) -> Path:
    write_nbest(tmp_path / "nbest.jsonl", LISTS)
    return tmp_path / "nbest.jsonl"


@pytest.mark.parametrize(
    ("output_format", "expected"),
    [
        ("best", "u1\ta\nu2\t\n"),
        ("lines", "a\n\n"),
        ("trn", "a (u1)\n(u2)\n"),
        ("kaldi", "u1 a\nu2 \n"),
        (
            "tsv",
            TABLE,
        ),
        (
            "jsonl",
            JSON_LINES,
        ),
    ],
)
def test_every_output_format(
    lmscore: Lmscore, nbest: Path, output_format: str, expected: str
) -> None:
    assert lmscore("rescore", nbest, "--output-format", output_format) == (0, expected, "")


def test_a_table_of_scores_can_be_ranked_again(lmscore: Lmscore, nbest: Path) -> None:
    table = nbest.with_name("table.tsv")
    lmscore("rescore", nbest, "--output-format", "tsv", "-o", table)

    first, _ = read_nbest(table)
    assert first.hypotheses[0] == Hypothesis("a", {"score": -1.5, "fake": -1.5})


def test_a_line_stays_free_for_a_list_that_could_not_be_ranked(
    lmscore: Lmscore, tmp_path: Path
) -> None:
    (tmp_path / "nbest").write_text("a\t-1\tx\nb\t-1\trefused\nc\t-1\ty\n")

    assert lmscore("rescore", tmp_path / "nbest", "--output-format", "lines")[1] == "x\n\ny\n"


def test_formats_with_names_get_a_feature_and_keep_everything(
    lmscore: Lmscore, tmp_path: Path
) -> None:
    (tmp_path / "nbest").write_text("0 ||| ab x ||| d= 0.0 -1.0 ||| -2.0 ||| 0-0\n")

    assert lmscore("rescore", tmp_path / "nbest", "--output-format", "same")[1] == (
        "0 ||| ab x ||| d= 0.0 -1.0 fake= -2.5 ||| -2.0 ||| 0-0\n"
    )


@pytest.mark.parametrize("format_name", ["mlm-scoring", "espnet", "tsv"])
def test_formats_with_one_score_are_ranked_by_the_total(
    lmscore: Lmscore, tmp_path: Path, format_name: str
) -> None:
    write_nbest(tmp_path / "nbest", LISTS, format=format_name)

    exit_code, _, _ = lmscore(
        "rescore", tmp_path / "nbest", "--output-format", "same", "-o", tmp_path / "out"
    )
    assert exit_code == 0
    assert list(read_nbest(tmp_path / "out")) == [
        NBestList("u1", (Hypothesis("a", {"score": -3.0}), Hypothesis("abcd", {"score": -4.0}))),
        NBestList("u2", (Hypothesis("", {"score": -1.5}),)),
    ]


def test_kaldi_costs_go_out_as_costs(lmscore: Lmscore, tmp_path: Path) -> None:
    features = {"acoustic": -7.0, "lm": -1.0}
    write_nbest(tmp_path / "in", [NBestList("u", (Hypothesis("ab", features),))], format="kaldi")

    assert (
        lmscore("rescore", tmp_path / "in", "--output-format", "same", "-o", tmp_path / "out")[0]
        == 0
    )
    assert (tmp_path / "out" / "lmwt.fake").read_text() == "u-1 2.0\n"
    assert (tmp_path / "out" / "acwt").read_text() == "u-1 7.0\n"


def test_srilm_lists_get_the_models_score_for_their_own(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "u.gz").write_text("-10 -2 1 ab\n")

    assert (
        lmscore("rescore", tmp_path / "u.gz", "--output-format", "same", "-o", tmp_path / "out")[0]
        == 0
    )
    acoustic, lm, count, text = (tmp_path / "out" / "u").read_text().split()
    assert (count, text) == ("1", "ab")
    assert float(acoustic) == pytest.approx(-10)
    assert float(lm) == pytest.approx(-2 / 2.302585093)


@pytest.mark.parametrize(
    ("weights", "best"),
    [
        ([], "u1\ta"),
        (["--lm-weight", "fake=0.25", "--lm-weight", "other=0"], "u1\tabcd"),
        (["--lm-weight", "fake=0.125", "--lm-weight", "other=0.25"], "u1\ta"),
    ],
)
def test_several_models_are_added_up(
    server: FakeServer, lmscore: Lmscore, nbest: Path, weights: list[str], best: str
) -> None:
    server.behaviour.models.append("other")

    exit_code, out, _ = lmscore(
        "rescore", nbest, "--model", "fake", "--model", "other", "--batch", "1", *weights
    )
    assert (exit_code, out.splitlines()[0]) == (0, best)
    assert server.behaviour.calls["Rescore"] == 4


def test_each_model_is_a_feature(server: FakeServer, lmscore: Lmscore, nbest: Path) -> None:
    server.behaviour.models.append("other")
    models = ["--model", "other", "--model", "fake"]

    _, out, _ = lmscore("rescore", nbest, *models, "--output-format", "jsonl")
    assert records(out)[1]["hyps"] == [["", {"score": -0.5, "other": -1.0, "fake": -1.0}]]
    _, out, _ = lmscore("rescore", nbest, *models, "--json")
    assert records(out)[1]["models"]["other"] == {
        "log_probs": [-1.0],
        "token_counts": [1],
        "oov_counts": [0],
        "version": 1,
    }


def test_a_weights_file_names_models_and_flags_have_precedence(
    server: FakeServer, lmscore: Lmscore, nbest: Path
) -> None:
    server.behaviour.models.append("other")
    weights = nbest.with_name("weights.toml")
    weights.write_text("[models]\nfake = 0.25\nother = 0\n[other]\nlength_bonus = 3\n")

    _, out, _ = lmscore("rescore", nbest, "--weights", weights, "--output-format", "tsv")
    assert out.splitlines()[1].split("\t") == ["u1", "1", "1.25", "-1.0", "-3.0", "-3.0", "abcd"]
    flags = ["--lm-weight", "fake=1", "--length-bonus", "0"]
    _, out, _ = lmscore("rescore", nbest, "--weights", weights, *flags)
    assert out.splitlines()[0] == "u1\ta"


@pytest.mark.parametrize("chosen", ["fake:1", "fake@stable", "fake"])
@pytest.mark.parametrize("weighted", ["", "fake=", "{chosen}="])
def test_a_chosen_version_has_the_weight_that_was_given(
    lmscore: Lmscore, nbest: Path, chosen: str, weighted: str
) -> None:
    weight = f"{weighted.format(chosen=chosen)}0.25"

    _, out, _ = lmscore("rescore", nbest, "--model", chosen, "--lm-weight", weight, "--json")
    assert records(out)[0]["totals"] == [-1.0 - 0.75, -1.5 - 0.375]


def test_two_versions_of_a_model_are_refused_since_weights_name_it_alone(
    lmscore: Lmscore, nbest: Path
) -> None:
    for command in ("rescore", "tune"):
        code, out, err = lmscore(command, nbest, "--model", "fake", "--model", "fake:1")
        assert (code, out) == (2, "")
        assert "--model fake and --model fake:1 are the same model" in err


def test_a_model_that_the_weights_file_lacks_is_told(
    server: FakeServer, lmscore: Lmscore, nbest: Path
) -> None:
    server.behaviour.models.append("other")
    weights = nbest.with_name("weights.toml")
    weights.write_text("[models]\nfake = 0.25\n")

    _, _, err = lmscore("rescore", nbest, "--weights", weights, "--model", "other")
    assert "weights.toml has no weight for model other: it counts with 1" in err
    for given in (["--model", "fake:1"], ["--model", "other", "--lm-weight", "2"]):
        assert "no weight" not in lmscore("rescore", nbest, "--weights", weights, *given)[2]


def test_a_format_without_room_for_several_models_is_told_before_anything_is_written(
    server: FakeServer, lmscore: Lmscore, tmp_path: Path
) -> None:
    server.behaviour.models.append("other")
    (tmp_path / "u").write_text("-10 -2 1 ab\n")
    models = ["--model", "fake", "--model", "other", "--output-format", "same"]

    code, _, err = lmscore("rescore", tmp_path / "u", *models, "-o", tmp_path / "out")
    assert code == 2
    assert "room for one language model" in err
    assert [each.name for each in tmp_path.iterdir()] == ["u"]


def test_what_cannot_be_written_has_no_hint_at_resuming(lmscore: Lmscore, tmp_path: Path) -> None:
    lists = [
        NBestList("u", (Hypothesis("a", {"am": -1.0}),)),
        NBestList("v", (Hypothesis("a", {"lm": -1.0}),)),
    ]
    write_nbest(tmp_path / "in.jsonl", lists)

    code, _, err = lmscore(
        "rescore", tmp_path / "in.jsonl", "--output-format", "tsv", "-o", tmp_path / "out"
    )
    assert code == 1
    assert "JSON lines can hold both" in err
    assert "--resume" not in err


def test_an_impossible_hypothesis_is_written_as_a_number(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "nbest").write_text("a\t-1\timpossible\n")

    _, out, _ = lmscore("rescore", tmp_path / "nbest", "--output-format", "jsonl")
    assert json.loads(out)["hyps"] == [["impossible", {"score": -1.0, "fake": -1e30}]]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--json", "--output-format", "best"], "--json and --output-format are both given"),
        (["--resume"], "--resume needs a file or folder as --output"),
        (["--lm-weight", "1", "--lm-weight", "2"], "--lm-weight is given more than once"),
        (["--lm-weight", "a=1", "--lm-weight", "a=2"], "--lm-weight a is given more than once"),
        (["--model", "fake", "--model", "fake"], "--model fake is given more than once"),
        (["--model", "a", "--model", "b", "--lm-weight", "1"], "has to say whose: MODEL=NUMBER"),
        (["--model", "fake", "--lm-weight", "a=1"], "choose that model too"),
        (["--feature-weight", "nope=1"], "the lists have no such feature"),
        (["-o", "."], "is a folder"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    lmscore: Lmscore, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    (tmp_path / "nbest.tsv").write_text("a\t-1\tx\n")

    exit_code, out, err = lmscore("rescore", tmp_path / "nbest.tsv", *arguments)
    assert (exit_code, out) == (2, "")
    assert problem in err
    assert len(err.splitlines()) == 1


def test_a_weight_for_a_feature_that_no_list_can_have_is_told_once(
    lmscore: Lmscore, nbest: Path
) -> None:
    exit_code, out, err = lmscore("rescore", nbest, "--feature-weight", "acoustic=2")

    assert (exit_code, out) == (2, "")
    assert err.startswith("lmscore: --feature-weight acoustic: the lists have no such feature")


@pytest.mark.parametrize("device", ["/dev/null", "/dev/full"])
def test_a_device_takes_what_is_written_and_nothing_lies_beside_it(
    lmscore: Lmscore, nbest: Path, device: str
) -> None:
    exit_code, out, err = lmscore("rescore", nbest, "-o", device)

    full = "lmscore: [Errno 28] No space left on device\n"
    assert (exit_code, out, err) == ((0, "", "") if device == "/dev/null" else (1, "", full))
    assert not Path(f"{device}.progress").exists()


def test_a_pipe_gets_the_whole_output(lmscore: Lmscore, nbest: Path, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()

    assert lmscore("rescore", nbest, "-o", pipe) == (0, "", "")
    reader.join()
    assert read == ["u1\ta\nu2\t\n"]


def test_a_feature_is_not_replaced(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "nbest").write_text("0 ||| x ||| fake= 1 ||| 2\n")

    exit_code, _, err = lmscore("rescore", tmp_path / "nbest", "--output-format", "same")
    assert exit_code == 2
    assert "the lists have a feature fake already" in err


def test_a_folder_with_files_in_it_is_left_alone(lmscore: Lmscore, tmp_path: Path) -> None:
    write_nbest(tmp_path / "in", LISTS, format="espnet")

    exit_code, _, err = lmscore(
        "rescore", tmp_path / "in", "--output-format", "same", "-o", tmp_path
    )
    assert exit_code == 2
    assert "is a folder with files in it" in err
    exit_code, _, err = lmscore("rescore", tmp_path / "in", "--output-format", "same")
    assert exit_code == 2
    assert "name one with --output" in err
