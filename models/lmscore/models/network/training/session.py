"""A run in its folder: begun or resumed, its model and its state kept there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from torch import Tensor

from lmscore.models.errors import ModelError, ModelFormatError, ModelNotFoundError
from lmscore.models.network.checkpoint import CONFIG_FILE, write_checkpoint
from lmscore.models.network.training import files
from lmscore.models.network.training.batches import SentenceBatches, make_batches
from lmscore.models.network.training.files import TrainingError, replace_file
from lmscore.models.network.training.history import Evaluation, as_csv, as_picture, perplexity
from lmscore.models.network.training.loss import mean_loss
from lmscore.models.network.training.preparation import (
    Prepared,
    Step,
    computing,
    make_module,
    prepare,
)
from lmscore.models.network.training.settings import TrainingSettings
from lmscore.models.network.training.settings_file import as_toml, settings_file
from lmscore.models.network.training.trainer import Progress, Trainer


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to; the model kept is that with the lowest held-out perplexity."""

    output: str
    kind: str
    parameters: int
    vocabulary_size: int
    finished: bool  # False: interrupted, and can be resumed
    epochs: float
    steps: int
    tokens: int
    seconds: float
    best_step: int
    valid_events: int
    valid_loss: float  # nats an event
    valid_perplexity: float
    valid_perplexity_by_sentence: float  # each line from the beginning, as models are scored


class Watcher(Protocol):
    """Who is told of a run."""

    def stepped(self, progress: Progress, last: Evaluation | None) -> None:
        """After every step, with the last evaluation."""
        ...

    def evaluated(self, row: Evaluation, *, best: bool) -> None:
        """After every evaluation; best: whether none was better."""
        ...

    def warned(self, line: str) -> None:
        """When something is not as it could be."""
        ...


class Session:
    """A run and its folder; also the Keeper of its trainer."""

    def __init__(
        self,
        settings: TrainingSettings,
        folder: Path,
        step: Step,
        watcher: Watcher,
    ) -> None:
        """Reads the text; raises ModelError where it, a device or the folder is not as needed."""
        self._settings, self._folder = settings, folder
        self._watcher = watcher
        self._how = computing(settings)
        with _made(folder, folder / files.RUN_FOLDER):
            self._prepared = prepare(settings, folder, step)
        data, seed = settings.data, settings.run.seed
        self.trainer = Trainer(
            make_module(settings, self._prepared),
            make_batches(self._prepared.train, data, seed),
            make_batches(self._prepared.valid, data, seed),
            settings.training,
            self._how,
        )

    def begin(self) -> None:
        """Note in the folder what the run depends on, so that it can be resumed from now on."""
        if self._prepared.held_out is not None:
            self._write(files.HELD_OUT_FILE, self._prepared.held_out)
        self._write(files.SETTINGS_FILE, as_toml(_absolute(self._settings)).encode())

    def resume(self) -> None:
        """Stand where the last snapshot was taken; at the beginning if there was none."""
        path = self._folder / files.RUN_FOLDER / files.SNAPSHOT_FILE
        if not path.exists():
            return
        snapshot = files.load_snapshot(path, self._how.device)
        if snapshot.pop("text", None) != _text_of(self._prepared):
            raise TrainingError(
                f"{path}: the text or its tokenizer is not what the run began with; begin anew"
            )
        try:
            self.trainer.restore(snapshot)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFormatError(path, f"not a snapshot of this run: {error}") from None
        if self.trainer.best is not None:
            self.gained(self.trainer.best_tensors, self.trainer.best)

    def run(self, interrupted: Callable[[], bool] = lambda: False) -> Summary:
        """Train to the end or until interrupted; raises TrainingError for a loss that is none."""
        finished = self.trainer.run(self, self._settings.run.save_seconds, interrupted)
        return self._summary(finished)

    def progressed(self, progress: Progress) -> None:
        """Tell of a step."""
        last = self.trainer.history[-1] if self.trainer.history else None
        self._watcher.stepped(progress, last)

    def evaluated(self, rows: list[Evaluation]) -> None:
        """Write the log and the picture."""
        self._watcher.evaluated(rows[-1], best=rows[-1] == self.trainer.best)
        self._write(files.LOG_FILE, as_csv(rows))
        if (picture := as_picture(rows)) is not None:
            self._write(files.PLOT_FILE, picture)
        elif len(rows) == 1:
            self._watcher.warned(
                f"no {files.PLOT_FILE}, which needs matplotlib: pip install matplotlib"
            )

    def gained(self, tensors: dict[str, Tensor], row: Evaluation) -> None:
        """Write the model, which is the best so far."""
        notes = {
            "trained_on": [path.name for path in self._settings.data.train],
            "mode": self._settings.data.mode,
            "seed": self._settings.run.seed,
            "step": row.step,
            "epoch": row.epoch,
            "valid_loss": row.valid_loss,
            "valid_perplexity": row.valid_perplexity,
        }
        config, tokenizer = self.trainer.module.config, self._prepared.tokenizer
        try:
            write_checkpoint(self._folder, config, tensors, tokenizer.spec, tokenizer.files, notes)
        except (OSError, SafetensorError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
            raise TrainingError(f"{self._folder}: cannot be written: {problem}") from None

    def save(self, snapshot: dict[str, Any]) -> None:
        """Write what resuming needs."""
        path = self._folder / files.RUN_FOLDER / files.SNAPSHOT_FILE
        files.save_snapshot(path, {"text": _text_of(self._prepared)} | snapshot)

    def _write(self, name: str, content: bytes) -> None:
        replace_file(self._folder / files.RUN_FOLDER / name, content)

    def _summary(self, finished: bool) -> Summary:
        trainer, best = self.trainer, self.trainer.best
        loss = best.valid_loss if best is not None else float("nan")
        return Summary(
            str(self._folder),
            trainer.module.config.kind,
            sum(weights.numel() for weights in trainer.module.parameters()),
            trainer.module.config.vocabulary_size,
            finished,
            trainer.at.epoch + trainer.at.batch / trainer.batches_per_epoch,
            trainer.at.step,
            trainer.at.tokens,
            trainer.at.seconds,
            best.step if best is not None else 0,
            self._prepared.valid.events,
            loss,
            perplexity(loss),
            self._perplexity_by_sentence() if best is not None else float("nan"),
        )

    def _perplexity_by_sentence(self) -> float:
        if self._settings.data.mode == "sentence" and self.trainer.best is not None:
            return self.trainer.best.valid_perplexity
        self.trainer.module.load_state_dict(self.trainer.best_tensors)
        size = self._settings.data.batch_size
        batches = SentenceBatches(self._prepared.valid, size, self._settings.run.seed)
        return perplexity(mean_loss(self.trainer.module, batches, self._how))


def begun_values(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """The settings of the run in a folder; ModelNotFoundError where none was begun."""
    path = folder / files.RUN_FOLDER / files.SETTINGS_FILE
    if not path.exists():
        raise ModelNotFoundError(f"{folder}: no run to resume; {path} is not there")
    return settings_file(path).values


def check_free(folder: Path) -> None:
    """Raise TrainingError if a folder holds a model or a run, which would be lost."""
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder}: not a folder")
    for name in (CONFIG_FILE, f"{files.RUN_FOLDER}/{files.SETTINGS_FILE}"):
        if (folder / name).exists():
            raise TrainingError(
                f"{folder}: holds a model or a run already ({name}); continue it with --resume, "
                "or name another folder"
            )


@contextmanager
def _made(*folders: Path) -> Iterator[None]:
    """Folders that are there from the beginning, and stay only if nothing fails.

    From the beginning, for whoever cannot write there need not wait for the text to be read.
    """
    made = [folder for folder in folders if not folder.exists()]
    for folder in made:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise TrainingError(f"{folder}: cannot be made: {error.strerror}") from None
    try:
        yield
    except ModelError:
        with suppress(OSError):  # what is not empty is somebody's
            for folder in reversed(made):
                folder.rmdir()
        raise


def _absolute(settings: TrainingSettings) -> TrainingSettings:
    """With paths that hold from every folder."""
    data, tokenizer = settings.data, settings.tokenizer
    train = tuple(path.absolute() for path in data.train)
    valid = data.valid.absolute() if data.valid is not None else None
    file = tokenizer.file.absolute() if tokenizer.file is not None else None
    return replace(
        settings,
        data=replace(data, train=train, valid=valid),
        tokenizer=replace(tokenizer, file=file),
    )


def _text_of(prepared: Prepared) -> list[str]:
    return [prepared.train.fingerprint, prepared.valid.fingerprint]
