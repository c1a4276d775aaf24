from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscore.client import Hypothesis, NBestList, RescoredList
from lmscore.client.combination import CombinationWeights, combined
from lmscore.client.textfile import FileError
from lmscore.client.weights_file import read_weights, write_weights
from lmscore.server.ranking import Hypotheses, Weights, rank

few = settings(max_examples=40, deadline=None)
halves = st.integers(-8, 8).map(lambda n: n / 2)  # sums of them are exact, and ties are common
log_probs = halves.map(lambda value: -abs(value)) | st.just(-math.inf)
rows = st.lists(st.tuples(log_probs, st.integers(0, 3), halves), min_size=1, max_size=6)


def answer(log_probs: list[float], oov_counts: list[int]) -> RescoredList:
    counts = tuple(1 for _ in log_probs)
    return RescoredList("a", tuple(log_probs), counts, tuple(oov_counts), ())


@few
@given(rows=rows, weights=st.tuples(halves, halves, halves, halves))
def test_one_model_is_ranked_as_the_server_does(
    rows: list[tuple[float, int, float]], weights: tuple[float, float, float, float]
) -> None:
    lm, bonus, penalty, factor = weights
    texts = ["a b \t c", "", "x\x85y", "\0", "a", "b c"][: len(rows)]
    words = [3, 0, 1, 0, 1, 2][: len(rows)]
    nbest = NBestList(
        "a", [Hypothesis(t, {"f": row[2]}) for t, row in zip(texts, rows, strict=True)]
    )
    said = {"m": answer([row[0] for row in rows], [row[1] for row in rows])}

    mine = combined(nbest, said, CombinationWeights({"m": lm}, {"f": factor}, bonus, penalty))
    order, totals = rank(
        Hypotheses(
            np.array([row[0] for row in rows]),
            np.array(words),
            np.array([row[1] for row in rows]),
            np.array([[row[2]] for row in rows]),
        ),
        Weights(lm, bonus, penalty, np.array([factor])),
    )
    assert np.array_equal(mine.totals, totals)
    assert np.array_equal(mine.order, order)


def test_models_are_added_up_with_their_weights() -> None:
    nbest = NBestList("a", [Hypothesis("x y", {"am": -1.0}), Hypothesis("x", {"am": -2.0})])
    said = {"ngram": answer([-4.0, -3.0], [1, 0]), "lstm": answer([-8.0, -2.0], [5, 5])}

    weights = CombinationWeights({"ngram": 0.5, "lstm": 0.25}, {"am": 2.0}, 0.5, 1.0)
    ranking = combined(nbest, said, weights)
    assert list(ranking.totals) == [-2 - 2 + 1 - 1 - 2, -1.5 - 0.5 + 0.5 - 0 - 4]
    assert list(ranking.order) == [1, 0]


def test_equal_totals_keep_the_order_of_the_list() -> None:
    nbest = NBestList("a", [Hypothesis("x")] * 4)
    said = {"m": answer([-1.0, 0.0, -1.0, 0.0], [0] * 4)}

    assert combined(nbest, said, CombinationWeights()).order == (1, 3, 0, 2)


def test_what_is_impossible_by_one_model_comes_last_whatever_another_says() -> None:
    nbest = NBestList("a", [Hypothesis("x"), Hypothesis("y")])
    said = {"m": answer([-math.inf, -9.0], [0, 0]), "n": answer([-math.inf, -9.0], [0, 0])}

    ranking = combined(nbest, said, CombinationWeights({"m": 1.0, "n": -1.0}))
    assert (ranking.order, ranking.totals) == ((1, 0), (-math.inf, 0.0))


def test_features_beside_a_total_count_only_with_a_weight() -> None:
    with_total = NBestList("a", [Hypothesis("x", {"lm": -5.0, "score": -1.0})])
    without = NBestList("a", [Hypothesis("x", {"lm": -5.0, "acoustic": -1.0})])
    said = {"m": answer([0.0], [0])}

    assert combined(with_total, said, CombinationWeights()).totals == (-1.0,)
    assert combined(with_total, said, CombinationWeights({}, {"lm": 1.0})).totals == (-6.0,)
    assert combined(without, said, CombinationWeights()).totals == (-6.0,)


def test_an_absent_feature_is_0() -> None:
    nbest = NBestList("a", [Hypothesis("x", {"lm": -5.0}), Hypothesis("y")])

    assert combined(nbest, {"m": answer([0, 0], [0, 0])}, CombinationWeights()).order == (1, 0)


# --- weights files ---

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.dictionaries(names, finite, max_size=3)


@few
@given(weights=st.builds(CombinationWeights, numbers, numbers, finite, finite))
def test_weights_survive_a_file(
    tmp_path_factory: pytest.TempPathFactory, weights: CombinationWeights
) -> None:
    path = tmp_path_factory.mktemp("weights") / "weights.toml"
    write_weights(path, weights)

    assert read_weights(path) == weights


def test_a_weights_file_can_be_written_by_hand(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("weights") / "weights.toml"
    path.write_text(
        "[models]\ncv = 0.003\ncv-lstm = 2\n[features]\nscore = 1.0\n[other]\nlength_bonus = 0.1\n"
    )
    assert read_weights(path) == CombinationWeights(
        {"cv": 0.003, "cv-lstm": 2.0}, {"score": 1.0}, length_bonus=0.1
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[models", "not TOML"),
        ("[model]\ncv = 1\n", r"there is no section \[model\]"),
        ("[models]\ncv = nan\n", r"\[models\] cv must be a finite number"),
        ("[models]\ncv = true\n", r"\[models\] cv must be a finite number"),
        ("[features]\nscore = 'a'\n", r"\[features\] score must be a finite number"),
        ("[other]\nbonus = 1\n", r"\[other\] has no bonus; it has length_bonus and oov_penalty"),
        ("models = 3\n", r"\[models\] must be a section"),
    ],
)
def test_what_is_wrong_with_a_weights_file_is_said(
    tmp_path_factory: pytest.TempPathFactory, content: str, problem: str
) -> None:
    path = tmp_path_factory.mktemp("weights") / "weights.toml"
    path.write_text(content)

    with pytest.raises(FileError, match=f"weights.toml: {problem}"):
        read_weights(path)
