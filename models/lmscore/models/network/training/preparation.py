"""What a run begins with: the text, its tokens, and a network with its first weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lmscore.models.errors import CorpusError, ModelNotFoundError
from lmscore.models.network.module import NetworkModule
from lmscore.models.network.placement import Placement, has_fast_bfloat16
from lmscore.models.network.training.files import TrainingError, replace_file
from lmscore.models.network.training.initialization import initialize
from lmscore.models.network.training.loss import Computing
from lmscore.models.network.training.settings import DataSettings, TrainingSettings
from lmscore.models.network.training.text import TextFile, read_text, split
from lmscore.models.network.training.tokens import (
    Sentences,
    TokenizerFiles,
    encode,
    tokenizer_files,
)
from lmscore.models.tokenization.loading import load_tokenizer

Step = Callable[[str], None]
"""Told what is being done."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tokens to train and to measure on, and how to write their tokenizer."""

    train: Sentences
    valid: Sentences
    vocabulary_size: int
    tokenizer: TokenizerFiles
    held_out: bytes | None  # the lines held out of the training text, if some are


def prepare(settings: TrainingSettings, folder: Path, step: Step) -> Prepared:
    """Read the text and turn it into tokens; the tokenizer's files are written to a folder.

    Raises CorpusError where there is no text, or none to measure on.
    """
    step("reading")
    train, valid = _texts(settings.data)
    step("tokenizing")
    tokenizer = tokenizer_files(settings.tokenizer, train)
    for name, content in tokenizer.files.items():
        replace_file(folder / name, content)
    loaded = load_tokenizer(folder, tokenizer.spec)
    encoded = [encode(texts, loaded) for texts in (train, valid)]
    for texts, sentences, purpose in zip(
        (train, valid), encoded, ("train", "measure"), strict=True
    ):
        if not len(sentences):
            raise CorpusError(texts[0].path, f"no text to {purpose} on")
    held_out = None
    if settings.data.valid is None:
        held_out = b"".join(line + b"\n" for text in valid for line in text.lines if line)
    return Prepared(encoded[0], encoded[1], len(loaded.vocabulary), tokenizer, held_out)


def make_module(settings: TrainingSettings, prepared: Prepared) -> NetworkModule:
    """A network as the seed draws it; torch's generator is the run's from here on."""
    torch.manual_seed(settings.run.seed)
    try:
        config = settings.network.config(prepared.vocabulary_size)
    except ValueError as error:
        raise TrainingError(f"network.{error}") from None
    module = NetworkModule(config)
    events = np.delete(prepared.train.ids, prepared.train.offsets[:-1])
    initialize(module, np.bincount(events, minlength=prepared.vocabulary_size))
    return module


def computing(settings: TrainingSettings) -> Computing:
    """Where to compute; CapabilityError if it is not there."""
    run = settings.run
    device = Placement(device=run.device).torch_device()
    torch.set_num_threads(run.threads)
    on_gpu = device.type == "cuda"
    wanted = run.precision == "bfloat16" or (run.precision == "auto" and has_fast_bfloat16(device))
    return Computing(device, mixed=on_gpu and wanted, time_steps=settings.data.time_steps)


def _texts(settings: DataSettings) -> tuple[list[TextFile], list[TextFile]]:
    """The text to train on, and that to measure on; a run reads them again when it is resumed."""
    if not settings.train:
        raise TrainingError("no text: name files to train on, or data.train in the settings")
    for path in (*settings.train, *filter(None, [settings.valid])):
        if not path.exists():
            raise ModelNotFoundError(f"{path}: no such file")
    train = [read_text(path) for path in settings.train]
    if not any(text.size for text in train):
        raise CorpusError(settings.train[0], "no text to train on")
    if settings.valid is not None:
        return train, [read_text(settings.valid)]
    parts = [split(text, settings.valid_fraction) for text in train]
    kept, held_out = [part[0] for part in parts], [part[1] for part in parts]
    for texts, name in ((kept, "train"), (held_out, "measure")):
        if not any(text.size for text in texts):
            raise CorpusError(
                settings.train[0],
                f"no line to {name} on is left when a share of {settings.valid_fraction} of "
                f"{sum(text.size for text in train)} lines is held out; give a file with --valid",
            )
    return kept, held_out
