"""The training loop: batch, gradient, step; now and then measure, keep the best, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lmscore.models.network.module import NetworkModule, State
from lmscore.models.network.training.batches import NO_EVENT, Batch, Batches
from lmscore.models.network.training.files import TrainingError
from lmscore.models.network.training.history import Evaluation, perplexity
from lmscore.models.network.training.loss import Computing, backward, mean_loss
from lmscore.models.network.training.optimization import Schedule, gradient_norm, make_optimizer
from lmscore.models.network.training.settings import OptimizationSettings


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    step: int
    total_steps: int
    epoch: int  # from 1
    loss: float  # nats an event, of late
    tokens_per_second: float


class Keeper(Protocol):
    """Who keeps what a run makes, and tells of it."""

    def progressed(self, progress: Progress) -> None:
        """After every step."""
        ...

    def evaluated(self, rows: list[Evaluation]) -> None:
        """After every evaluation."""
        ...

    def gained(self, tensors: dict[str, Tensor], row: Evaluation) -> None:
        """When no weights were better before."""
        ...

    def save(self, snapshot: dict[str, Any]) -> None:
        """When it is time to save; what is given is what Trainer.restore takes."""
        ...


@dataclass(slots=True)
class Position:
    """Where a run stands; all of it is saved."""

    step: int = 0
    epoch: int = 0
    batch: int = 0  # within the epoch, the next
    tokens: int = 0
    seconds: float = 0.0
    waited: int = 0  # evaluations without gain
    nats: float = 0.0  # since the last evaluation, as are those below
    events: int = 0
    norms: float = 0.0
    steps: int = 0


class Trainer:
    """A network, its text, and where its training stands; on a CPU the same at every run."""

    def __init__(
        self,
        module: NetworkModule,
        train: Batches,
        valid: Batches,
        settings: OptimizationSettings,
        how: Computing,
    ) -> None:
        self.module = module.to(how.device)
        self.history: list[Evaluation] = []
        self.best: Evaluation | None = None
        self.best_tensors: dict[str, Tensor] = {}
        self.at = Position()
        self._train, self._valid = train, valid
        self._settings, self._how = settings, how
        self._total = settings.epochs * train.count
        self._optimizer = make_optimizer(self.module, settings)
        self._schedule = Schedule(settings, self._total)
        self._carried: State = ()
        self._recent = math.nan

    def run(
        self, keeper: Keeper, save_seconds: float, interrupted: Callable[[], bool] = lambda: False
    ) -> bool:
        """Train to the end, or until interrupted; whether the end was reached. Either way saves.

        Raises TrainingError where the loss is no number; what was saved before stays.
        """
        self.module.train()
        saved = time.monotonic()
        origin = saved - self.at.seconds
        while not self._finished():
            for batch in self._train.epoch(self.at.epoch, self.at.batch):
                begun = time.monotonic()
                events = self._step(batch)
                keeper.progressed(self._progress(events / (time.monotonic() - begun)))
                self.at.seconds = time.monotonic() - origin
                if self._evaluation_is_due():
                    self._evaluate(keeper)
                if self._finished():
                    break
                if interrupted():
                    keeper.save(self.snapshot())
                    return False
                if time.monotonic() - saved >= save_seconds:
                    keeper.save(self.snapshot())
                    saved = time.monotonic()
        keeper.save(self.snapshot())
        return True

    def snapshot(self) -> dict[str, Any]:
        """All that a run depends on, as plain values and tensors."""
        cuda = [torch.cuda.get_rng_state(self._how.device)] if self._on_gpu else []
        return {
            "position": asdict(self.at),
            "weights": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": [self._schedule.scale, self._schedule.waited],
            "carried": list(self._carried),
            "random": [torch.get_rng_state(), *cuda],
            "history": [asdict(row) for row in self.history],
            "best": None if self.best is None else asdict(self.best),
            "best_weights": self.best_tensors,
        }

    @property
    def batches_per_epoch(self) -> int:
        """How many steps an epoch has."""
        return self._train.count

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Stand where the snapshot was taken."""
        self.at = Position(**snapshot["position"])
        self.module.load_state_dict(snapshot["weights"])
        self._optimizer.load_state_dict(snapshot["optimizer"])
        self._schedule.scale, self._schedule.waited = snapshot["schedule"]
        self._carried = tuple(snapshot["carried"])
        states = [state.cpu() for state in snapshot["random"]]
        torch.set_rng_state(states[0])
        if self._on_gpu and len(states) > 1:
            torch.cuda.set_rng_state(states[1], self._how.device)
        self.history = [Evaluation(**row) for row in snapshot["history"]]
        self.best = None if snapshot["best"] is None else Evaluation(**snapshot["best"])
        self.best_tensors = {name: t.cpu() for name, t in snapshot["best_weights"].items()}

    @property
    def _on_gpu(self) -> bool:
        return self._how.device.type == "cuda"

    def _step(self, batch: Batch) -> int:
        """Learn from a batch; how many events it has."""
        rate = self._schedule.rate(self.at.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        events = int((batch.targets != NO_EVENT).sum())
        batch = batch.to(self._how.device)
        state = self.module.initial_state(len(batch.inputs)) if batch.first else self._carried
        self._optimizer.zero_grad()
        loss, state = backward(self.module, batch, state, self._how)
        norm = gradient_norm(self.module, self._settings.clip_norm)
        self._check(loss, norm)
        self._optimizer.step()
        self._carried = state
        self._moved(loss, events, norm)
        return events

    def _moved(self, loss: float, events: int, norm: float) -> None:
        at = self.at
        at.nats, at.events = at.nats + loss * events, at.events + events
        at.norms, at.steps = at.norms + norm, at.steps + 1
        at.step, at.batch, at.tokens = at.step + 1, at.batch + 1, at.tokens + events
        if at.batch == self._train.count:
            at.epoch, at.batch = at.epoch + 1, 0
        self._recent = loss if math.isnan(self._recent) else 0.95 * self._recent + 0.05 * loss

    def _check(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        raise TrainingError(
            f"step {self.at.step + 1}: the loss is {loss} and its gradient {norm}; "
            + self._kept()
            + "a lower training.learning_rate or training.clip_norm may help"
        )

    def _kept(self) -> str:
        if self.best is None:
            return "nothing was kept yet; "
        return (
            f"the model of step {self.best.step} with held-out perplexity "
            f"{self.best.valid_perplexity:.4g} is kept; "
        )

    def _finished(self) -> bool:
        patience = self._settings.stop_patience
        tired = patience is not None and self.at.waited >= patience
        return self.at.epoch >= self._settings.epochs or tired

    def _evaluation_is_due(self) -> bool:
        every = self._settings.evaluate_every
        over = self.at.epoch >= self._settings.epochs
        return over or (self.at.batch == 0 if every is None else self.at.step % every == 0)

    def _evaluate(self, keeper: Keeper) -> None:
        loss = mean_loss(self.module, self._valid, self._how)
        if not math.isfinite(loss):
            self._check(loss, math.nan)
        row = self._row(loss)
        self.history.append(row)
        gained = self.best is None or loss < self.best.valid_loss
        self._schedule.evaluated(gained=gained)
        at = self.at
        at.waited = 0 if gained else at.waited + 1
        at.nats = at.norms = 0.0
        at.events = at.steps = 0
        if gained:
            self.best = row
            self.best_tensors = {
                name: tensor.detach().cpu().clone()
                for name, tensor in self.module.state_dict().items()
            }
            keeper.gained(self.best_tensors, row)
        keeper.evaluated(self.history)

    def _row(self, loss: float) -> Evaluation:
        at = self.at
        return Evaluation(
            at.step,
            at.epoch + at.batch / self._train.count,
            at.tokens,
            at.nats / max(at.events, 1),
            loss,
            perplexity(loss),
            self._schedule.rate(at.step - 1),
            at.norms / max(at.steps, 1),
            at.seconds,
        )

    def _progress(self, rate: float) -> Progress:
        epoch = min(self.at.epoch + 1, self._settings.epochs)
        return Progress(self.at.step, self._total, epoch, self._recent, rate)
