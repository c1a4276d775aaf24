"""What a training run is told, as one frozen object; a ValueError begins with section.key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lmscore.models.network.config import Activation, NetworkConfig, NetworkKind

TokenType = Literal["words", "characters", "bytes", "huggingface", "sentencepiece"]
Mode = Literal["sentence", "continuous"]
OptimizerName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["constant", "cosine", "plateau"]
Precision = Literal["auto", "float32", "bfloat16"]


def _at_least(section: str, values: object, **least: float) -> None:
    for key, bound in least.items():
        value = getattr(values, key)
        if value is not None and not value >= bound:
            raise ValueError(f"{section}.{key}: {value} is less than {bound}")


@dataclass(frozen=True, slots=True)
class DataSettings:
    """The text, what is held out of it, and how it is cut into batches."""

    train: tuple[Path, ...] = ()  # one sentence a line, plain or compressed
    valid: Path | None = None  # held-out text; None: a share of the lines of train
    valid_fraction: float = 0.1
    mode: Mode = "sentence"
    batch_size: int = 64  # sentences, or parallel streams
    time_steps: int = 64  # tokens that gradients reach back

    def __post_init__(self) -> None:
        _at_least("data", self, batch_size=1, time_steps=1)
        if not 0 < self.valid_fraction < 1:
            raise ValueError(f"data.valid_fraction: {self.valid_fraction} is not within 0 and 1")


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """How text becomes tokens: a vocabulary learned from the text, or a tokenizer's file."""

    type: TokenType = "words"
    file: Path | None = None  # tokenizer.json, or a SentencePiece .model
    min_count: int = 1  # rarer words or characters are unk
    max_size: int | None = None  # most words or characters to know
    bos: str = "</s>"  # of a file
    eos: str = "</s>"
    unk: str | None = "<unk>"

    def __post_init__(self) -> None:
        _at_least("tokenizer", self, min_count=1, max_size=1)
        if (self.type in {"huggingface", "sentencepiece"}) != (self.file is not None):
            raise ValueError(
                "tokenizer.file: huggingface and sentencepiece need one, the others learn theirs"
            )


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """A NetworkConfig without the size of the vocabulary, which the text decides."""

    kind: NetworkKind = "lstm"
    embedding_size: int = 128
    hidden_sizes: tuple[int, ...] = (256,)
    activation: Activation = "tanh"
    context_size: int | None = None  # of a feed-forward network; None: 5
    recurrent_projection_size: int | None = None
    projection_size: int | None = None
    tied: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        try:
            self.config(1)
        except ValueError as error:
            name, _, problem = str(error).partition(" ")
            raise ValueError(f"network.{name}: {problem}") from None

    def config(self, vocabulary_size: int) -> NetworkConfig:
        """The network for a vocabulary."""
        context = self.context_size
        if self.kind == "feedforward" and context is None:
            context = 5
        return NetworkConfig(
            self.kind,
            vocabulary_size,
            self.embedding_size,
            self.hidden_sizes,
            self.activation,
            context,
            self.recurrent_projection_size,
            self.projection_size,
            self.tied,
            self.dropout,
        )


@dataclass(frozen=True, slots=True)
class OptimizationSettings:
    """How weights are changed, for how long, and how often that is looked at."""

    optimizer: OptimizerName = "adamw"
    learning_rate: float = 0.002
    weight_decay: float = 0.0  # of matrices, not of biases
    momentum: float = 0.9  # of sgd
    schedule: ScheduleName = "cosine"
    warmup_steps: int = 0  # the rate rises from 0
    final_share: float = 0.02  # of the rate, where a cosine ends
    decay: float = 0.5  # of the rate, where a plateau is met
    decay_patience: int = 1  # evaluations without gain that make a plateau
    clip_norm: float | None = 1.0  # longest gradient
    epochs: int = 10
    evaluate_every: int | None = None  # steps; None: once an epoch
    stop_patience: int | None = None  # evaluations without gain after which to stop; None: never

    def __post_init__(self) -> None:
        _at_least(
            "training", self, weight_decay=0, momentum=0, warmup_steps=0, final_share=0,
            decay=0, decay_patience=1, epochs=1, evaluate_every=1, stop_patience=1,
        )  # fmt: skip
        for key in ("learning_rate", "clip_norm"):
            value = getattr(self, key)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"training.{key}: {value} is not a number above 0")
        for key in ("momentum", "decay"):
            if not getattr(self, key) < 1:
                raise ValueError(f"training.{key}: {getattr(self, key)} is not less than 1")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Where it computes, what it draws from, and how often it saves."""

    seed: int = 1
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    threads: int = 2  # on the CPU
    precision: Precision = "auto"  # bfloat16 on a GPU that has it; always float32 on a CPU
    save_seconds: float = 120.0  # the most that a kill loses

    def __post_init__(self) -> None:
        _at_least("run", self, seed=0, threads=1, save_seconds=0)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Everything that a run depends on."""

    data: DataSettings = field(default_factory=DataSettings)
    tokenizer: TokenSettings = field(default_factory=TokenSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: OptimizationSettings = field(default_factory=OptimizationSettings)
    run: RunSettings = field(default_factory=RunSettings)
