"""Every event of a text is in an epoch's batches exactly once, after what comes before it."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.network.training.batches import (
    NO_EVENT,
    Batch,
    Batches,
    SentenceBatches,
    StreamBatches,
)
from tests.models.network.training.corpora import random_rows, sentences_of

ROWS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=8), min_size=1, max_size=30)


def rows_of(batches: list[Batch]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Inputs and targets of each row, without padding."""
    rows = []
    for batch in batches:
        for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            size = sum(target != NO_EVENT for target in targets)
            assert NO_EVENT not in targets[:size]  # padding stands at the end alone
            rows.append((tuple(inputs[:size]), tuple(targets[:size])))
    return rows


@given(ROWS, st.integers(1, 7), st.integers(0, 3))
def test_each_sentence_is_one_row_of_an_epoch_from_bos_to_eos(
    rows: list[list[int]], size: int, epoch: int
) -> None:
    batches = SentenceBatches(sentences_of(rows), size, seed=1)
    expected = Counter(((0, *row), (*row, 0)) for row in rows)

    assert Counter(rows_of(list(batches.epoch(epoch)))) == expected
    assert Counter(rows_of(list(batches.in_order()))) == expected
    assert len(list(batches.epoch(epoch))) == batches.count


@given(ROWS, st.integers(1, 7), st.integers(1, 5))
def test_streams_one_after_the_other_are_the_text(
    rows: list[list[int]], streams: int, window: int
) -> None:
    batches = list(StreamBatches(sentences_of(rows), streams, window).epoch(0))
    inputs = torch.cat([batch.inputs for batch in batches], 1)
    targets = torch.cat([batch.targets for batch in batches], 1)
    event = targets != NO_EVENT

    assert targets[event].tolist() == [token for row in rows for token in (*row, 0)]
    assert inputs[event].tolist() == [token for row in rows for token in (0, *row)]
    assert [batch.first for batch in batches] == [True, *[False] * (len(batches) - 1)]
    assert max(batch.inputs.shape[1] for batch in batches) <= window


@given(st.integers(0, 12), st.integers(0, 2))
def test_an_epoch_can_be_entered_at_any_batch(begin: int, epoch: int) -> None:
    sentences = sentences_of(random_rows(50))
    kinds: list[Batches] = [SentenceBatches(sentences, 4, 1), StreamBatches(sentences, 4, 5)]
    for batches in kinds:
        whole, rest = list(batches.epoch(epoch)), list(batches.epoch(epoch, begin))
        assert len(rest) == len(whole[begin:])
        for a, b in zip(whole[begin:], rest, strict=True):
            assert a.inputs.equal(b.inputs)
            assert a.targets.equal(b.targets)


def test_epochs_differ_in_what_is_together_and_seeds_do_too() -> None:
    sentences = sentences_of(random_rows(50))
    first = rows_of(list(SentenceBatches(sentences, 4, 1).epoch(0)))

    assert first != rows_of(list(SentenceBatches(sentences, 4, 1).epoch(1)))
    assert first != rows_of(list(SentenceBatches(sentences, 4, 2).epoch(0)))
    assert first == rows_of(list(SentenceBatches(sentences, 4, 1).epoch(0)))


def test_sentences_of_one_length_come_together() -> None:
    batches = SentenceBatches(sentences_of(random_rows(1000)), 10, seed=1)

    padding = sum(int((batch.targets == NO_EVENT).sum()) for batch in batches.epoch(0))

    assert padding < 0.05 * sum(batch.targets.numel() for batch in batches.epoch(0))
