"""Networks of random weights, the texts that they score, and what people write in PyTorch."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lmscore.models.language_model import ScoreBatch, Texts, TokenSequences
from lmscore.models.network.checkpoint import Checkpoint, write_checkpoint
from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.module import NetworkModule
from lmscore.models.network.scoring import events_of, paths_of
from lmscore.models.network.trie import build_trie
from lmscore.models.tokenization.spec import TokenizerSpec
from lmscore.models.tokenization.tokenizer import SpecialIds
from lmscore.models.tokenization.words import WordTokenizer

END = 0
PADDED = 64


class Shape(NamedTuple):
    units: int
    layers: int
    vocabulary: int

    @property
    def config(self) -> NetworkConfig:
        return NetworkConfig("lstm", self.vocabulary, self.units, (self.units,) * self.layers)

    def __str__(self) -> str:
        return f"{self.layers} x {self.units} units, {self.vocabulary:,} words"


class Workload(NamedTuple):
    checkpoint: Checkpoint
    module: NetworkModule
    ids: list[list[int]]  # events of each text but its end

    @property
    def batch(self) -> ScoreBatch:
        offsets = np.concatenate(([0], np.cumsum([len(text) for text in self.ids])))
        return ScoreBatch(
            TokenSequences(np.array([i for text in self.ids for i in text], np.int64), offsets)
        )

    @property
    def events(self) -> int:
        return sum(len(text) + 1 for text in self.ids)

    def of(self, ids: list[list[int]]) -> Workload:
        return self._replace(ids=ids)


def read_lists(path: Path) -> list[list[str]]:
    lines = path.read_text().splitlines()
    return [[hypothesis[0] for hypothesis in json.loads(line)["hyps"]] for line in lines]


def made_up_lists(lists: int = 200, size: int = 100, words: int = 10) -> list[list[str]]:
    """Lists whose hypotheses differ from another one of the list in one or two places."""
    generator = random.Random(1)

    def word() -> str:
        return f"w{min(int(generator.paretovariate(0.6)), 9_000)}"

    made = []
    for _ in range(lists):
        length = max(2, int(generator.gauss(words, 3)))
        hypotheses = [[word() for _ in range(length)]]
        while len(hypotheses) < size:
            changed = list(generator.choice(hypotheses[:12]))
            for _ in range(generator.choice((1, 1, 2))):
                changed[int(length * generator.random() ** 0.6)] = word()
            hypotheses.append(changed)
        made.append([" ".join(hypothesis) for hypothesis in hypotheses])
    return made


def workload(shape: Shape, lists: list[list[str]]) -> Workload:
    """A network whose words are those of the lists, most frequent first, and fillers."""
    counts = Counter(word for texts in lists for text in texts for word in text.split())
    vocabulary = ["</s>", "<unk>", *(word for word, _ in counts.most_common())]
    vocabulary += [f"filler-{i}" for i in range(shape.vocabulary - len(vocabulary))]
    tokenizer = WordTokenizer(vocabulary[: shape.vocabulary], SpecialIds(END, END, 1))
    torch.manual_seed(1)
    module = NetworkModule(shape.config).eval()
    encoded = tokenizer.encode(Texts.from_strings([text for texts in lists for text in texts]))
    ids = np.split(encoded.token_ids, encoded.offsets[1:-1])
    checkpoint = Checkpoint(shape.config, dict(module.state_dict()), tokenizer)
    return Workload(checkpoint, module, [text.tolist() for text in ids])


def write_network(folder: Path, shape: Shape) -> NetworkModule:
    """A checkpoint of random weights; the same as a plain module."""
    torch.manual_seed(1)
    module = NetworkModule(shape.config).eval()
    words = ["</s>", "<unk>", *(f"w{i}" for i in range(shape.vocabulary - 2))]
    files = {"vocab.txt": "".join(f"{word}\n" for word in words).encode()}
    spec = TokenizerSpec("words", "vocab.txt")
    write_checkpoint(folder, shape.config, dict(module.state_dict()), spec, files)
    return module


@torch.inference_mode()
def one_at_a_time(work: Workload, device: torch.device) -> list[float]:
    """The ordinary loop: each text through the network, then a softmax over the vocabulary."""
    module, result = work.module.to(device), []
    for text in work.ids:
        inputs = torch.tensor([[END, *text]], device=device)
        logits, _ = module(inputs, module.initial_state(1))
        log_probs = torch.log_softmax(logits[0], -1)
        events = torch.tensor([*text, END], device=device)
        result.append(log_probs.gather(1, events[:, None]).sum().item())
    return result


@torch.inference_mode()
def padded(work: Workload, device: torch.device, batch: int = PADDED) -> list[float]:
    """The ordinary batch: texts padded to the longest, a softmax, a mask."""
    module, result = work.module.to(device), []
    for begin in range(0, len(work.ids), batch):
        inputs, events, mask = padded_batch(work.ids[begin : begin + batch])
        logits, _ = module(inputs.to(device), module.initial_state(len(inputs)))
        log_probs = torch.log_softmax(logits, -1)
        chosen = log_probs.gather(2, events.to(device)[:, :, None])[:, :, 0]
        result.extend((chosen * mask.to(device)).sum(1).tolist())
    return result


def padded_batch(texts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, events and which of them count, each (texts, longest + 1)."""
    longest = max(map(len, texts)) + 1
    inputs = torch.tensor([[END, *t, *[END] * (longest - len(t) - 1)] for t in texts])
    events = torch.tensor([[*t, *[END] * (longest - len(t))] for t in texts])
    mask = torch.arange(longest) <= torch.tensor([len(t) for t in texts])[:, None]
    return inputs, events, mask


def distinct_prefixes(work: Workload) -> int:
    events = events_of(work.batch, work.checkpoint.tokenizer)
    paths = paths_of(None, TokenSequences(events.ids, events.offsets), END)
    return len(build_trie(paths, 1)) - 1


def multiplications(config: NetworkConfig) -> int:
    """Of one prefix in all layers."""
    return sum(
        shape[0] * shape[1]
        for name, shape in config.shapes().items()
        if len(shape) == 2 and not name.startswith("embedding")
    )
