"""The loss of a batch, and the mean over a text, in nats an event."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lmscore.models.network.module import NetworkModule, State
from lmscore.models.network.training.batches import NO_EVENT, Batch, Batches


@dataclass(frozen=True, slots=True)
class Computing:
    """Where and in what precision a network is trained, and how far gradients reach."""

    device: torch.device
    mixed: bool  # bfloat16 where that does no harm
    time_steps: int

    def precision(self) -> AbstractContextManager[object]:
        """The context to compute in."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.mixed else nullcontext()


def backward(
    module: NetworkModule, batch: Batch, state: State, how: Computing
) -> tuple[float, State]:
    """Add the gradients of a batch's mean loss; that mean, and the state after the batch.

    Long rows are gone through in windows: gradients reach no further back, the state does.
    """
    events = int((batch.targets != NO_EVENT).sum())
    total = torch.zeros((), dtype=torch.float64, device=how.device)
    for inputs, targets in _windows(batch, how.time_steps):
        state = tuple(part.detach() for part in state)
        with how.precision():
            loss, state = summed_loss(module, inputs, targets, state)
        (loss / events).backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total.item() / events, tuple(part.detach() for part in state)


def summed_loss(
    module: NetworkModule, inputs: Tensor, targets: Tensor, state: State
) -> tuple[Tensor, State]:
    """The surprise over all events, in nats, and the state after; padding counts for nothing."""
    features, state = module.features(inputs, state)
    event = targets != NO_EVENT  # (batch, time)
    logits = module.output(features[event])  # (events, vocabulary)
    return functional.cross_entropy(logits, targets[event], reduction="sum"), state


@torch.no_grad()
def mean_loss(module: NetworkModule, batches: Batches, how: Computing) -> float:
    """The mean surprise over the events of a text, without dropout, in nats."""
    module.eval()
    total, events = 0.0, 0
    state: State = ()
    for batch in (b.to(how.device) for b in batches.in_order()):
        if batch.first:
            state = module.initial_state(len(batch.inputs))
        for inputs, targets in _windows(batch, how.time_steps):
            loss, state = summed_loss(module, inputs, targets, state)
            total += loss.item()
            events += int((targets != NO_EVENT).sum())
    module.train()
    return total / events if events else math.nan


def _windows(batch: Batch, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    for begin in range(0, batch.inputs.shape[1], steps):
        here = slice(begin, begin + steps)
        yield batch.inputs[:, here], batch.targets[:, here]
