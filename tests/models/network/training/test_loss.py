"""The loss is that of the events alone, whatever stands beside them, and so are its gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lmscore.models.network.module import NetworkModule
from lmscore.models.network.training.batches import NO_EVENT, Batch, SentenceBatches, StreamBatches
from lmscore.models.network.training.initialization import initialize
from lmscore.models.network.training.loss import Computing, backward, mean_loss, summed_loss
from tests.models.network.training.corpora import (
    KINDS,
    ON_CPU,
    VOCABULARY,
    random_rows,
    sentences_of,
    tiny_config,
    tiny_module,
)


def rows_alone(module: NetworkModule, rows: list[list[int]]) -> float:
    """The mean loss, one sentence and one token at a time."""
    total, events = 0.0, 0
    for row in rows:
        state = module.initial_state(1)
        for token, following in zip([0, *row], [*row, 0], strict=True):
            logits, state = module(torch.tensor([[token]]), state)
            total -= float(torch.log_softmax(logits[0, 0], 0)[following])
            events += 1
    return total / events


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 3, 100])
@torch.no_grad()
def test_padding_does_not_change_the_loss(kind: str, batch_size: int) -> None:
    rows = random_rows(20)
    module = tiny_module(kind)

    loss = mean_loss(module, SentenceBatches(sentences_of(rows), batch_size, 1), ON_CPU)

    assert loss == pytest.approx(rows_alone(module.eval(), rows), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_change_the_gradients(kind: str) -> None:
    module = tiny_module(kind)
    [batch] = SentenceBatches(sentences_of([[1, 2], [3, 4]]), 2, 1).in_order()
    filler = torch.full((2, 5), 6)
    padded = Batch(
        torch.cat((batch.inputs, filler), 1),
        torch.cat((batch.targets, torch.full((2, 5), NO_EVENT)), 1),
        first=True,
    )

    for a, b in zip(gradients(module, batch), gradients(module, padded), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def gradients(module: NetworkModule, batch: Batch, how: Computing = ON_CPU) -> list[Tensor]:
    module.zero_grad()
    backward(module, batch, module.initial_state(len(batch.inputs)), how)
    return [weights.grad.clone() for weights in module.parameters() if weights.grad is not None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [1, 4, 1000])
@torch.no_grad()
def test_carried_state_equals_one_long_sequence(kind: str, window: int) -> None:
    rows = random_rows(20)
    module = tiny_module(kind).eval()
    stream = [token for row in rows for token in (0, *row)]
    logits, _ = module(torch.tensor([stream]), module.initial_state(1))
    targets = torch.tensor([*stream[1:], 0])
    expected = -torch.log_softmax(logits[0], 1)[torch.arange(len(targets)), targets].mean()

    loss = mean_loss(module, StreamBatches(sentences_of(rows), 1, window), ON_CPU)

    assert loss == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_long_sentence_costs_the_same_in_windows(steps: int) -> None:
    module = tiny_module("lstm")
    batches = SentenceBatches(sentences_of(random_rows(6)), 6, 1)
    [batch] = batches.in_order()
    windows = Computing(torch.device("cpu"), mixed=False, time_steps=steps)
    state = module.initial_state(6)

    assert backward(module, batch, state, windows)[0] == pytest.approx(
        backward(module, batch, state, ON_CPU)[0], rel=1e-12
    )
    assert mean_loss(module, batches, windows) == pytest.approx(mean_loss(module, batches, ON_CPU))


VARIANTS = [
    *[(kind, {}) for kind in KINDS],
    ("lstm", {"recurrent_projection_size": 3}),
    ("gru", {"projection_size": 5, "tied": True}),
    ("rnn", {"hidden_sizes": (5,), "tied": True}),
    ("feedforward", {"activation": "gelu"}),
]


@pytest.mark.parametrize(("kind", "changes"), VARIANTS)
def test_gradients_are_those_of_finite_differences(kind: str, changes: dict[str, Any]) -> None:
    module = tiny_module(kind, **changes)
    [batch] = SentenceBatches(sentences_of(random_rows(5)), 5, 1).in_order()
    events = int((batch.targets != NO_EVENT).sum())
    analytic = torch.cat([g.ravel() for g in gradients(module, batch)])
    random = np.random.default_rng(0)
    weights = torch.cat([w.detach().ravel() for w in module.parameters()])

    def loss(values: Tensor) -> float:
        torch.nn.utils.vector_to_parameters(values, module.parameters())
        state = module.initial_state(len(batch.inputs))
        with torch.no_grad():
            return summed_loss(module, batch.inputs, batch.targets, state)[0].item() / events

    for place in random.choice(len(weights), min(150, len(weights)), replace=False):
        nudge = torch.zeros_like(weights)
        nudge[place] = 1e-5
        slope = (loss(weights + nudge) - loss(weights - nudge)) / 2e-5
        assert float(analytic[place]) == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("kind", "changes"), VARIANTS)
def test_a_module_has_the_tensors_that_its_config_names(
    kind: str, changes: dict[str, object]
) -> None:
    config = tiny_config(kind, **changes)

    shapes = {name: tuple(t.shape) for name, t in NetworkModule(config).state_dict().items()}

    assert shapes == config.shapes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_network_begins_near_the_unigram_distribution(kind: str) -> None:
    rows = random_rows(200)
    counts = np.bincount([token for row in rows for token in (*row, 0)], minlength=VOCABULARY)
    share = counts / counts.sum()
    module = tiny_module(kind)

    initialize(module, counts)
    loss = mean_loss(module, SentenceBatches(sentences_of(rows), 50, 1), ON_CPU)

    entropy = -float((share * np.log(share)).sum())
    assert loss == pytest.approx(entropy, abs=0.1)
    assert entropy < math.log(VOCABULARY)


def test_an_lstm_begins_by_remembering_and_recurrences_as_rotations() -> None:
    module = tiny_module("lstm")

    initialize(module, np.ones(VOCABULARY, np.int64))

    tensors = module.state_dict()
    bias = tensors["layers.0.bias_ih_l0"] + tensors["layers.0.bias_hh_l0"]
    assert bias.tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 12  # input, forget, cell, output
    for gate in tensors["layers.0.weight_hh_l0"].chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(6, dtype=torch.float64))
