"""A small LSTM of characters with random weights, and the folder that holds it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lmscore.models.network.checkpoint import Checkpoint, write_checkpoint
from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.model import NetworkModel
from lmscore.models.network.placement import Placement
from lmscore.models.tokenization.characters import CharacterTokenizer
from lmscore.models.tokenization.spec import TokenizerSpec
from lmscore.models.tokenization.tokenizer import NO_ID, SpecialIds

CHARACTERS = ["</s>", *"abcdefghijklmnopqrstuvwxyz ü"]
CONFIG = NetworkConfig("lstm", len(CHARACTERS), 8, (12, 10))
CPU = Placement("cpu", "float32", threads=1)


def random_tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(shape, generator=generator) * 0.4
        for name, shape in CONFIG.shapes().items()
    }


def write(folder: Path, tensors: dict[str, Tensor]) -> Path:
    spec = TokenizerSpec("characters", "vocab.txt", unk=None)
    files = {"vocab.txt": "".join(f"{token}\n" for token in CHARACTERS).encode()}
    write_checkpoint(folder, CONFIG, tensors, spec, files)
    return folder


def character_network() -> NetworkModel:
    tokenizer = CharacterTokenizer(CHARACTERS, SpecialIds(0, 0, NO_ID))
    return NetworkModel(Checkpoint(CONFIG, random_tensors(), tokenizer), CPU)
