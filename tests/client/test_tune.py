"""``lmscore tune`` and the library call behind it."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from lmscore.client import Hypothesis, NBestList, RescoredList
from lmscore.client.combination import CombinationWeights, combined
from lmscore.client.nbest import write_nbest
from lmscore.client.requests import RescoreWeights
from lmscore.client.tuning import METRICS, Tuning, steps_of, tune
from lmscore.client.tuning.advice import advice
from lmscore.client.tuning.candidates import candidates
from lmscore.client.tuning.error_metrics import ErrorMetric
from lmscore.client.tuning.parameters import Kind, Parameter
from lmscore.client.tuning.search import Space
from lmscore.client.tuning.validation import oracle
from lmscore.client.weights_file import read_weights, write_weights
from tests.client.commands import Lmscore, records
from tests.client.fake_server import FakeServer

LISTS = 120
Said = dict[str, list[RescoredList]]


def problem(lists: int = LISTS, seed: int = 0) -> tuple[list[NBestList], Said]:
    """Lists whose own scores are noisy; a model that knows more of the truth, one that knows none.

    The reference of each is its first hypothesis, with 0 errors; the others have 1 to 3.
    """
    draw = random.Random(seed)
    found: list[NBestList] = []
    said: Said = {"good": [], "useless": []}
    for i in range(lists):
        errors = [0, *(draw.randint(1, 3) for _ in range(5))]
        texts = [" ".join(["x"] * each + ["w"] * (5 - each)) for each in errors]
        scores = [-each + draw.gauss(0, 3) for each in errors]
        good = [200 * (-each + draw.gauss(0, 1)) for each in errors]
        noise = [200 * draw.gauss(0, 1) for _ in errors]
        found.append(
            NBestList(
                f"u{i}",
                [Hypothesis(t, {"score": s}) for t, s in zip(texts, scores, strict=True)],
                texts[0],
            )
        )
        said["good"].append(answer(good))
        said["useless"].append(answer(noise))
    return found, said


def answer(log_probs: list[float]) -> RescoredList:
    nothing = (0,) * len(log_probs)
    return RescoredList("", tuple(log_probs), nothing, nothing, ())


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    return tune(*problem())


def test_the_model_that_knows_gets_a_weight_and_the_other_hardly_any(tuning: Tuning) -> None:
    good, useless = tuning.weights.models["good"], tuning.weights.models["useless"]
    assert good > 1 / 200
    assert useless < good / 3


def test_figures_are_in_their_order(tuning: Tuning) -> None:
    oracle, tuned, validated, given = (
        each.value
        for each in (tuning.oracle, tuning.tuned, tuning.cross_validated, tuning.best_given)
    )
    assert 0 == oracle < tuned <= validated < given
    assert tuning.gain.value == pytest.approx(validated - given)
    assert tuning.gain.low < tuning.gain.value < tuning.gain.high < 0
    assert tuning.cross_validated.low < validated < tuning.cross_validated.high


def test_other_lists_do_as_well_as_cross_validation_says(tuning: Tuning) -> None:
    lists, said = problem(lists=1000, seed=1)
    errors = 0
    for i, each in enumerate(lists):
        answers = {name: every[i] for name, every in said.items()}
        winner = each.hypotheses[combined(each, answers, tuning.weights).best]
        errors += winner.text.count("x")

    score = tuning.cross_validated
    assert score.low <= 100 * errors / (5 * len(lists)) <= score.high


def test_the_same_seed_gives_the_same_tuning() -> None:
    lists, said = problem(30)

    assert tune(lists, said, seed=3) == tune(lists, said, seed=3)


def test_every_search_is_reported() -> None:
    lists, said = problem(10)
    reports: list[None] = []

    tune(lists, said, folds=2, restarts=1, report=lambda: reports.append(None))
    assert len(reports) == steps_of(2, 2, 1) == 12


def test_fixed_weights_stay() -> None:
    lists, said = problem(20)

    fixed = {"useless": 0.0123456, "length_bonus": 0.5, "oov_penalty": -1.0}
    weights = tune(lists, said, fixed=fixed).weights
    assert weights.models["useless"] == 0.0123456
    assert (weights.length_bonus, weights.oov_penalty, weights.oov_penalties) == (0.5, -1.0, {})


def test_a_single_model_has_its_own_penalty_in_the_usual_place() -> None:
    lists, said = problem(20)
    rare = [RescoredList("", each.log_probs, (), (0, 1, 1, 1, 1, 1), ()) for each in said["good"]]

    weights = tune(lists, {"good": rare}).weights
    assert weights.oov_penalty > 0
    assert weights.oov_penalties == {}


@pytest.mark.parametrize("metric", ["wer", "cer", "bleu", "chrf"])
def test_every_metric_gains(metric: str) -> None:
    lists, said = problem(40)

    tuning = tune(lists, {"good": said["good"]}, metric=metric, restarts=0)
    gain = tuning.tuned.value - tuning.best_given.value
    assert gain > 0 if metric in {"bleu", "chrf"} else gain < 0
    assert tuning.oracle.value == pytest.approx(100 if metric in {"bleu", "chrf"} else 0)


def test_all_features_are_weighted_where_that_is_asked_for() -> None:
    lists, said = problem()
    features = [
        NBestList(
            each.id,
            [
                Hypothesis(h.text, {"score": h.features["score"], "good": value})
                for h, value in zip(each.hypotheses, good.log_probs, strict=True)
            ],
            each.reference,
        )
        for each, good in zip(lists, said["good"], strict=True)
    ]
    useless = {"useless": said["useless"]}

    assert tune(features, useless, restarts=0).weights.features == {"score": 1.0}
    weights = tune(features, useless, restarts=0, features="all").weights
    assert weights.features["score"] == 1
    assert weights.features["good"] > 1 / 200


def test_without_scores_of_their_own_the_first_model_is_the_measure() -> None:
    lists, said = problem(20)
    bare = [
        NBestList(each.id, [Hypothesis(h.text) for h in each.hypotheses], each.reference)
        for each in lists
    ]
    weights = tune(bare, said).weights
    assert weights.models["good"] == 1
    assert weights.features == {}


def test_warnings_of_lists_that_say_little() -> None:
    lists, _ = problem(12)
    good_given = [
        NBestList(each.id, [Hypothesis(each.reference or "", {"score": 0.0})], each.reference)
        for each in lists
    ]
    few, nothing = tune(good_given, {"good": [answer([0.0])] * 12}).warnings
    assert few == "only 12 lists have a reference: weights and figures are rough"
    assert "there is nothing to gain" in nothing


def test_a_model_that_says_the_opposite_does_not_help() -> None:
    lists, said = problem(120)
    opposite = [answer([-value for value in each.log_probs]) for each in said["good"]]

    first, *_ = tune(lists, {"opposite": opposite}, restarts=0).warnings
    assert first == "model opposite does not help: its best weight is about 0"


def test_a_weight_at_the_border_is_warned_of() -> None:
    parameters = [Parameter(Kind.FEATURE, "score", 1.0, False), Parameter(Kind.MODEL, "m")]
    low, high = np.array([1.0, 0.0]), np.array([1.0, 5.0])
    space = Space(low, low, high, low, low)
    errors = np.array([0.2, 0.1, 0.15, 0.05])

    def warnings(weight: float) -> list[str]:
        return list(advice(parameters, space, np.array([1, weight]), 200, errors, (-0.1, -0.01)))

    assert warnings(1.0) == []
    assert warnings(0.0) == ["model m does not help: its best weight is about 0"]
    [warning] = warnings(5.0)
    assert warning.startswith("model m is at the border of what was tried, 5: the list's own")


@pytest.mark.parametrize(
    ("validated", "interval", "warning"),
    [
        (0.21, (0.0, 0.1), "on lists that they were not tuned on, the weights do not help"),
        (0.19, (-0.1, 0.05), "what is gained may be chance: its 95 % interval includes 0"),
    ],
)
def test_gains_that_are_none_are_warned_of(
    validated: float, interval: tuple[float, float], warning: str
) -> None:
    nothing = Space(*[np.zeros(0)] * 5)
    errors = np.array([0.2, 0.1, validated, 0.05])

    assert list(advice([], nothing, np.zeros(0), 200, errors, interval)) == [warning]


@pytest.mark.parametrize(
    ("fixed", "folds", "message"),
    [
        ({"nope": 1.0}, 2, "no weight is called nope"),
        ({}, 7, "6 lists have a reference; 7 folds need as many"),
    ],
)
def test_what_cannot_be_tuned_is_told(fixed: dict[str, float], folds: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tune(*problem(6), fixed=fixed, folds=folds)


# The command, with a model for which every letter costs 1/2 and the end of a text 1.
NBEST = [
    NBestList(
        f"u{i}", (Hypothesis("abcd", {"score": 0.0}), Hypothesis("ab", {"score": -0.5 - i})), "ab"
    )
    for i in range(3)
] + [NBestList("no reference", (Hypothesis("a", {"score": 0.0}),))]


@pytest.fixture
def nbest(tmp_path: Path) -> Path:
    write_nbest(tmp_path / "nbest.jsonl", NBEST)
    return tmp_path / "nbest.jsonl"


def test_what_it_writes_is_what_rescore_reads(lmscore: Lmscore, nbest: Path) -> None:
    weights = nbest.with_name("w.toml")

    exit_code, out, err = lmscore("tune", nbest, "--folds", "3", "-o", weights)
    assert exit_code == 0
    assert out.splitlines()[0].split() == [
        "3",
        "lists,",
        "3",
        "folds",
        "WER",
        "95",
        "%",
        "interval",
    ]
    assert out.splitlines()[1].split()[:3] == ["as", "given", "100.00"]
    assert out.splitlines()[2].split()[-4:] == ["0.00", "0.00", "to", "0.00"]
    assert "lmscore: 1 lists have no reference and are left out\n" in err
    assert "only 3 lists have a reference" in err
    assert read_weights(weights).features == {"score": 1.0}
    exit_code, out, _ = lmscore("rescore", nbest, "--weights", weights)
    assert out.splitlines()[:3] == ["u0\tab", "u1\tab", "u2\tab"]


def test_several_models_and_a_record(server: FakeServer, lmscore: Lmscore, nbest: Path) -> None:
    server.behaviour.models.append("other")
    models = ["--model", "fake", "--model", "other", "--fix", "other=0"]

    _, out, _ = lmscore("tune", nbest, *models, "--folds", "2", "--metric", "bleu", "--json")
    [record] = records(out)
    assert (record["metric"], record["lists"], record["folds"]) == ("bleu", 3, 2)
    assert set(record["tuned"]) == {"value", "low", "high"}
    assert record["weights"]["models"]["other"] == 0
    assert set(record["weights"]["oov_penalties"]) == {"fake", "other"}


def test_the_picture_is_one(lmscore: Lmscore, nbest: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = nbest.with_name("tune.png")

    assert lmscore("tune", nbest, "--folds", "2", "--plot", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["--fix", "nope=1", "--folds", "2"],
            "no weight is called nope; there are fake, score, length_bonus",
        ),
        (["--folds", "9"], "3 lists have a reference; 9 folds need as many"),
        (["--model", "fake", "--model", "fake"], "--model fake is given more than once"),
        (["-o", "w", "--plot", "w"], "have to be different files"),
        (["-o", "no-such-folder/w"], "there is no folder"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    lmscore: Lmscore, nbest: Path, arguments: list[str], problem: str
) -> None:
    exit_code, out, err = lmscore("tune", nbest, *arguments)
    assert (exit_code, out) == (2, "")
    assert problem in err


def test_without_references_there_is_nothing_to_tune_on(lmscore: Lmscore, tmp_path: Path) -> None:
    (tmp_path / "nbest").write_text("a\t-1\tx\n")

    exit_code, _, err = lmscore("tune", tmp_path / "nbest")
    assert exit_code == 1
    assert "no list has a reference to tune on" in err


def test_without_matplotlib_a_plot_says_what_to_install(nbest: Path) -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from lmscore.client.cli.app import run\n"
        f"sys.exit(run(['tune', {str(nbest)!r}, '--plot', 'x.png']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "lmscore: --plot needs matplotlib: pip install 'lmscore[plot]'\n"


def test_the_command_imports_numpy_only_to_tune() -> None:
    program = (
        "import sys; import lmscore.client.cli.app\n"
        "print([m for m in ('numpy', 'sacrebleu', 'rapidfuzz', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_each_models_unknown_words_cost_what_the_server_would_take() -> None:
    weights = CombinationWeights({"a": 0.5}, {}, 0.0, 1.0, {"a": 2.0, "b": 4.0})
    assert weights.for_server("a", {}) == RescoreWeights(0.5, 0.0, 3.0, {})
    said = {
        "a": RescoredList("", (-2.0,), (), (1,), ()),
        "b": RescoredList("", (-1.0,), (), (2,), ()),
    }
    [total] = combined(NBestList("", [Hypothesis("")]), said, weights).totals
    assert total == -1 - 1 - 1 - 2 - 8


def test_penalties_of_models_are_kept_in_the_file_and_replaced_by_the_flag(
    server: FakeServer, lmscore: Lmscore, tmp_path: Path
) -> None:
    server.behaviour.models.append("other")
    weights = CombinationWeights({"fake": 1.0, "other": 0.0}, {}, 0.5, 0.0, {"other": 7.0})
    write_weights(tmp_path / "w.toml", weights)
    assert read_weights(tmp_path / "w.toml") == weights
    (tmp_path / "nbest").write_text("a\t-1\tx1\na\t-9\tyyy\n")  # x1 is out of vocabulary

    rescore = ["rescore", tmp_path / "nbest", "--weights", tmp_path / "w.toml"]
    assert lmscore(*rescore)[1] == "a\tyyy\n"
    assert lmscore(*rescore, "--oov-penalty", "0")[1] == "a\tx1\n"


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_no_other_hypothesis_would_make_the_oracle_better(metric: ErrorMetric) -> None:
    draw = random.Random(1)
    references = [" ".join(draw.choices("abc", k=draw.randint(2, 9))) for _ in range(8)]
    texts = [
        [" ".join(draw.choices("abc", k=draw.randint(1, 9))) for _ in range(4)] for _ in references
    ]
    statistics = [metric.statistics(*each) for each in zip(references, texts, strict=True)]
    lists = candidates([np.zeros((4, 1))] * 8, statistics)

    best = oracle(lists, metric.error)
    least = metric.error(lists.chosen(best).sum(axis=0))
    for i, j in product(range(8), range(4)):
        other = best.copy()
        other[i] = j
        assert metric.error(lists.chosen(other).sum(axis=0)) >= least - 1e-6
