"""Beam search, against the enumeration of every text that a small model has."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscore.models.decoding.batch import DecodingBatch
from lmscore.models.decoding.beam import Hypothesis
from lmscore.models.decoding.parameters import Beam, Decoding, Greedy
from lmscore.models.decoding.rows import FinishReason, NewSequence
from tests.models.decoding.table_model import EOS, TableModel

penalties = st.sampled_from([0.0, 0.5, 1.0, 2.0])


def search(model: TableModel, decoding: Decoding, **extra: object) -> list[Hypothesis]:
    batch = DecodingBatch(model)
    new = NewSequence(decoding, **extra)  # type: ignore[arg-type]
    (sequence_id,) = batch.add(model.initial_state(1), [new]).tolist()
    while len(batch):
        result = batch.step()
    return result.beams[sequence_id]


@settings(max_examples=60)
@given(st.integers(0, 10**6), penalties, st.sampled_from([0.3, 1.0, 3.0]), st.integers(1, 4))
def test_a_beam_that_holds_every_text_finds_the_best(
    seed: int, length_penalty: float, peakedness: float, results: int
) -> None:
    model = TableModel.random(seed, peakedness=peakedness)
    beam = Beam(200, length_penalty, results)

    found = search(model, Decoding(beam, max_tokens=4))

    def score(text: list[int]) -> float:
        return model.log_prob(text) / float(len(text) ** length_penalty)

    best = sorted(model.texts(4), key=score, reverse=True)[:results]
    # Of texts that score the same but for rounding, either may come first.
    assert [score(h.token_ids) for h in found] == pytest.approx([score(text) for text in best])
    assert len({tuple(h.token_ids) for h in found}) == len(best)
    for hypothesis in found:
        assert hypothesis.log_prob == pytest.approx(model.log_prob(hypothesis.token_ids))
        ended = hypothesis.token_ids[-1] == EOS
        assert hypothesis.reason == (FinishReason.END_OF_TEXT if ended else FinishReason.LENGTH)


@given(st.integers(0, 10**6), penalties, st.integers(0, 3))
def test_a_beam_of_one_is_greedy(seed: int, length_penalty: float, min_tokens: int) -> None:
    model = TableModel.random(seed, peakedness=2.0)
    greedy = DecodingBatch(model)
    greedy.add(
        model.initial_state(1),
        [NewSequence(Decoding(Greedy(), max_tokens=9, min_tokens=min_tokens))],
    )
    expected = []
    while len(greedy):
        expected += greedy.step().token_ids.tolist()

    beam = Decoding(Beam(1, length_penalty), max_tokens=9, min_tokens=min_tokens)

    assert [h.token_ids for h in search(model, beam)] == [expected]


@given(st.integers(0, 10**6), penalties, st.integers(1, 8))
def test_results_are_distinct_and_best_first(seed: int, length_penalty: float, width: int) -> None:
    model = TableModel.random(seed)

    found = search(model, Decoding(Beam(width, length_penalty, width), max_tokens=6))

    assert len(found) == width
    assert len({tuple(h.token_ids) for h in found}) == width
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@given(st.integers(0, 10**6), penalties, st.integers(1, 4))
def test_stopping_early_loses_nothing(seed: int, length_penalty: float, width: int) -> None:
    """A search that asks for one result finds what one that has to go on finds."""
    model = TableModel.random(seed)
    one = search(model, Decoding(Beam(width, length_penalty, 1), max_tokens=7))
    all_of_them = search(model, Decoding(Beam(width, length_penalty, width), max_tokens=7))

    assert one[0].token_ids == all_of_them[0].token_ids


def test_a_penalty_is_in_the_score_and_not_in_the_log_probs() -> None:
    model = TableModel(np.full((5, 5), [0.0, 0.1, 0.1, 0.5, 0.3]))

    (found,) = search(model, Decoding(Beam(50), min_tokens=3, max_tokens=3, repetition_penalty=3.0))

    # After 3, another 3 would count 3 log 0.5 = log 0.125, less than 4; then 3 again beats 4.
    expected = np.log([0.5, 0.3, 0.5])
    assert sorted(found.token_ids) == [3, 3, 4]
    assert sum(found.log_probs) == pytest.approx(expected.sum())
    assert found.score == pytest.approx(np.log(0.5) + np.log(0.3) + 3 * np.log(0.5))


def test_a_stop_string_ends_a_hypothesis() -> None:
    model = TableModel.random(4)

    found = search(
        model,
        Decoding(Beam(100, 0.0, 50), max_tokens=4, min_tokens=1),
        ends_text=lambda tokens: tokens[-2:] == [3, 4] or tokens[-1:] == [5],
    )

    assert FinishReason.STOP in {hypothesis.reason for hypothesis in found}
    for hypothesis in found:
        ids = hypothesis.token_ids
        stops = ids[-2:] == [3, 4] or (ids[-1] == 5 and len(ids) > 1)
        assert (hypothesis.reason == FinishReason.STOP) == stops
        assert 5 not in ids[1:-1]
        assert (3, 4) not in list(pairwise(ids[:-1]))


def test_a_beam_without_any_continuation_comes_to_a_dead_end() -> None:
    probs = np.zeros((4, 4))
    probs[0, 3] = probs[3, EOS] = 1.0
    model = TableModel(probs)

    (found,) = search(model, Decoding(Beam(2), min_tokens=2))

    assert found.reason == FinishReason.DEAD_END
    assert found.token_ids == [3]
