"""The loop: it learns, repeats itself, can be taken up anywhere, and stops when it should."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lmscore.models.errors import ModelFormatError
from lmscore.models.network.module import NetworkModule
from lmscore.models.network.training.batches import make_batches
from lmscore.models.network.training.files import TrainingError, load_snapshot, save_snapshot
from lmscore.models.network.training.history import Evaluation
from lmscore.models.network.training.initialization import initialize
from lmscore.models.network.training.optimization import Schedule
from lmscore.models.network.training.settings import DataSettings, Mode, OptimizationSettings
from lmscore.models.network.training.tokens import Sentences
from lmscore.models.network.training.trainer import Progress, Trainer
from tests.models.network.training.corpora import (
    KINDS,
    ON_CPU,
    VOCABULARY,
    random_rows,
    sentences_of,
    tiny_config,
)

MODES: list[Mode] = ["sentence", "continuous"]
OPTIMIZATION = OptimizationSettings(learning_rate=0.01, epochs=3, evaluate_every=5)


class Notes:
    """A keeper that keeps all it is told."""

    def __init__(self) -> None:
        self.steps: list[Progress] = []
        self.rows: list[Evaluation] = []
        self.best: dict[str, Tensor] = {}
        self.best_step = 0
        self.snapshots: list[dict[str, Any]] = []

    def progressed(self, progress: Progress) -> None:
        self.steps.append(progress)

    def evaluated(self, rows: list[Evaluation]) -> None:
        self.rows = list(rows)

    def gained(self, tensors: dict[str, Tensor], row: Evaluation) -> None:
        self.best = tensors
        self.best_step = row.step

    def save(self, snapshot: dict[str, Any]) -> None:
        self.snapshots.append(snapshot)


def trainer_of(
    settings: OptimizationSettings = OPTIMIZATION,
    kind: str = "lstm",
    mode: Mode = "sentence",
    train: Sentences | None = None,
    **network: object,
) -> Trainer:
    train = sentences_of(random_rows(40)) if train is None else train
    data = DataSettings(mode=mode, batch_size=4, time_steps=7)
    valid = make_batches(sentences_of(random_rows(10, seed=1)), data, 1)
    torch.manual_seed(1)
    module = NetworkModule(tiny_config(kind, **{"dropout": 0.2} | network))
    initialize(module, np.ones(VOCABULARY, np.int64))
    return Trainer(module, make_batches(train, data, 1), valid, settings, ON_CPU)


def weights_of(trainer: Trainer) -> Tensor:
    return torch.cat([weights.detach().ravel() for weights in trainer.module.parameters()])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_a_run_repeats_itself(kind: str, mode: Mode) -> None:
    first = trainer_of(kind=kind, mode=mode)
    assert first.run(Notes(), math.inf)
    second = trainer_of(kind=kind, mode=mode)
    assert second.run(Notes(), math.inf)

    assert weights_of(first).equal(weights_of(second))
    assert [replace(row, seconds=0) for row in first.history] == [
        replace(row, seconds=0) for row in second.history
    ]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stop", [1, 10, 17])
def test_a_run_taken_up_ends_as_one_that_was_never_interrupted(
    tmp_path: Path, mode: Mode, stop: int, optimizer: Any
) -> None:
    settings = replace(OPTIMIZATION, schedule="plateau", optimizer=optimizer)
    whole = trainer_of(settings, mode=mode)
    whole.run(Notes(), math.inf)
    notes = Notes()
    part = trainer_of(settings, mode=mode)

    assert not part.run(notes, math.inf, lambda: len(notes.steps) >= stop)
    save_snapshot(tmp_path / "snapshot.pt", notes.snapshots[-1])
    rest = trainer_of(settings, mode=mode)
    torch.manual_seed(99)  # what the snapshot says counts
    rest.restore(load_snapshot(tmp_path / "snapshot.pt", torch.device("cpu")))
    assert rest.at.step == stop
    assert rest.run(Notes(), math.inf)

    assert weights_of(rest).equal(weights_of(whole))
    assert [r.valid_loss for r in rest.history] == [r.valid_loss for r in whole.history]
    assert [r.train_loss for r in rest.history] == [r.train_loss for r in whole.history]
    assert all(rest.best_tensors[name].equal(t) for name, t in whole.best_tensors.items())


@pytest.mark.parametrize("kind", KINDS)
def test_ten_lines_are_learned_by_heart(kind: str) -> None:
    rows = [[1 + i % 3, 1 + i // 3, 6, 1 + (i * i) % 5, 2] for i in range(10)]
    text = sentences_of(rows)
    settings = OptimizationSettings(learning_rate=0.02, epochs=150, schedule="constant")
    trainer = trainer_of(
        settings, kind, train=text, hidden_sizes=(24,), embedding_size=12, dropout=0.0
    )

    trainer.run(Notes(), math.inf)

    possible = math.log(10) / 6  # nats an event if only the choice among ten is unsure
    assert trainer.history[-1].train_loss < 1.3 * possible


def test_the_best_weights_are_kept_and_not_the_last() -> None:
    settings = replace(OPTIMIZATION, learning_rate=0.1, epochs=10, schedule="constant")
    trainer, notes = trainer_of(settings), Notes()

    trainer.run(notes, math.inf)

    losses = [row.valid_loss for row in notes.rows]
    assert trainer.best is not None
    assert trainer.best.valid_loss == min(losses) < losses[-1]
    assert notes.best is trainer.best_tensors
    assert notes.best_step == trainer.best.step
    assert not weights_of(trainer).equal(torch.cat([t.ravel() for t in notes.best.values()]))


def test_it_stops_when_nothing_was_gained_for_as_long_as_asked() -> None:
    settings = replace(
        OPTIMIZATION, learning_rate=0.1, epochs=1000, schedule="constant", stop_patience=3
    )
    trainer = trainer_of(settings)

    trainer.run(Notes(), math.inf)

    assert trainer.best is not None
    assert [row.step for row in trainer.history].index(trainer.best.step) == (
        len(trainer.history) - 4
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_loss_that_is_no_number_ends_the_run_and_saves_nothing_more(mode: Mode) -> None:
    trainer, notes = trainer_of(mode=mode), Notes()

    def spoil() -> bool:
        if len(notes.steps) == 7:
            with torch.no_grad():
                trainer.module.get_parameter("output.bias")[2] = math.nan
        return False

    with pytest.raises(TrainingError, match=r"step 8: the loss is nan .* step 5 .* is kept"):
        trainer.run(notes, math.inf, spoil)
    assert notes.snapshots == []
    assert all(bool(t.isfinite().all()) for t in notes.best.values())


def test_a_rate_that_is_far_too_high_is_told_of() -> None:
    settings = replace(
        OPTIMIZATION, optimizer="sgd", learning_rate=1e30, clip_norm=None, schedule="constant"
    )

    with pytest.raises(TrainingError, match=r"a lower training.learning_rate"):
        trainer_of(settings, "rnn", activation="relu").run(Notes(), math.inf)


def test_gradients_are_cut_to_the_longest_allowed() -> None:
    settings = OptimizationSettings(
        optimizer="sgd", learning_rate=1.0, momentum=0.0, clip_norm=0.01, schedule="constant",
        epochs=1,
    )  # fmt: skip
    trainer, notes = trainer_of(settings), Notes()
    before = weights_of(trainer)

    trainer.run(notes, math.inf, lambda: True)  # one step

    moved = float((weights_of(trainer) - before).norm())
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_the_log_counts_events_and_epochs() -> None:
    trainer = trainer_of()
    events = sum(len(row) + 1 for row in random_rows(40))

    trainer.run(Notes(), math.inf)

    assert [row.step for row in trainer.history] == [5, 10, 15, 20, 25, 30]
    assert [row.epoch for row in trainer.history] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert trainer.history[-1].tokens == 3 * events
    assert trainer.history[-1].valid_perplexity == pytest.approx(
        math.exp(trainer.history[-1].valid_loss)
    )


def test_it_saves_as_often_as_asked() -> None:
    notes = Notes()

    trainer_of().run(notes, 0.0)

    steps = [snapshot["position"]["step"] for snapshot in notes.snapshots]
    assert steps == [*range(1, 30), 30]


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({"schedule": "constant"}, [1, 1, 1, 1, 1]),
        ({"schedule": "constant", "warmup_steps": 3}, [0.25, 0.5, 0.75, 1, 1]),
        (
            {"schedule": "cosine", "final_share": 0.0},
            [1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0],
        ),
        ({"schedule": "cosine", "final_share": 1.0}, [1, 1, 1, 1, 1]),
    ],
)
def test_the_rate_follows_its_schedule(changes: dict[str, Any], rates: list[float]) -> None:
    settings = replace(OptimizationSettings(), learning_rate=2.0, **changes)
    schedule = Schedule(settings, 4)

    assert [schedule.rate(step) / 2 for step in range(5)] == pytest.approx(rates)


def test_the_rate_falls_on_a_plateau_alone() -> None:
    settings = OptimizationSettings(
        learning_rate=1.0, schedule="plateau", decay=0.5, decay_patience=2
    )
    schedule = Schedule(settings, 100)
    rates = []
    for gained in (True, False, True, False, False, False, False):
        schedule.evaluated(gained=gained)
        rates.append(schedule.rate(10))

    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.25]


def test_a_snapshot_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.pt"
    path.write_bytes(b"nothing of the kind")

    with pytest.raises(ModelFormatError, match=r"snapshot.pt: not a snapshot"):
        load_snapshot(path, torch.device("cpu"))


def test_a_snapshot_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.pt"
    torch.save({"version": 1, "position": Path("x")}, path)  # an object, not a plain value

    with pytest.raises(ModelFormatError, match=r"snapshot.pt: not a snapshot"):
        load_snapshot(path, torch.device("cpu"))


def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stays(tmp_path: Path) -> None:
    (tmp_path / "snapshot.pt").write_bytes(b"old")
    (tmp_path / "snapshot.pt.new").mkdir()

    with pytest.raises(TrainingError, match=r"snapshot.pt: cannot be written: Is a directory"):
        save_snapshot(tmp_path / "snapshot.pt", {})
    assert (tmp_path / "snapshot.pt").read_bytes() == b"old"
