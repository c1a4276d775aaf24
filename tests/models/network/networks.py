"""Small networks with random weights, and what they give as plain PyTorch computes it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmscore.models.network.checkpoint import Checkpoint
from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.model import NetworkModel
from lmscore.models.network.placement import Placement
from lmscore.models.tokenization.tokenizer import SpecialIds
from lmscore.models.tokenization.words import WordTokenizer

END, UNKNOWN = 0, 1


def config_of(kind: str, **sizes: object) -> NetworkConfig:
    """A network of 20 words, embedding 6 and two layers, unless said otherwise."""
    usual = {"vocabulary_size": 20, "embedding_size": 6, "hidden_sizes": (7, 5)}
    if kind == "feedforward":
        usual["context_size"] = 3
    return NetworkConfig(kind=kind, **(usual | sizes))  # type: ignore[arg-type]


def tokenizer_of(size: int, *, unknown: bool = True) -> WordTokenizer:
    words = ["</s>", *(["<unk>"] if unknown else []), *(f"w{i}" for i in range(size))][:size]
    return WordTokenizer(words, SpecialIds(END, END, UNKNOWN if unknown else -1))


def random_tensors(config: NetworkConfig, seed: int = 0) -> dict[str, Tensor]:
    """Weights whose recurrences neither explode nor vanish."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        * (0.9 * shape[-1] ** -0.5 if "hh" in name or "hr" in name else 0.5)
        for name, shape in config.shapes().items()
    }


def checkpoint_of(config: NetworkConfig, seed: int = 0, *, unknown: bool = True) -> Checkpoint:
    tokenizer = tokenizer_of(config.vocabulary_size, unknown=unknown)
    return Checkpoint(config, random_tensors(config, seed), tokenizer)


def model_of(checkpoint: Checkpoint, dtype: str = "float32", rows: int = 8192) -> NetworkModel:
    return NetworkModel(checkpoint, Placement("cpu", dtype, threads=2, max_batch_tokens=rows))


def expected_log_probs(checkpoint: Checkpoint, ids: Sequence[int]) -> list[Tensor]:
    """The distribution after each prefix of ids, the empty one first, by torch.nn in float64.

    ids are read one by one from the empty state; each result is (vocabulary,).
    """
    config, tensors = checkpoint.config, checkpoint.tensors
    if config.kind == "feedforward":
        tops = _feedforward(config, tensors, ids)
    else:
        tops = _recurrent(config, tensors, ids)
    if config.projection_size is not None:
        tops = tops @ tensors["projection.weight"].T + tensors["projection.bias"]
    weight = tensors["embedding.weight" if config.tied else "output.weight"]
    return list(torch.log_softmax(tops @ weight.T + tensors["output.bias"], -1))


def _embedded(tensors: dict[str, Tensor], ids: Sequence[int]) -> Tensor:
    embedding = tensors["embedding.weight"]
    return torch.stack([embedding[i] if i >= 0 else torch.zeros_like(embedding[0]) for i in ids])


def _recurrent(config: NetworkConfig, tensors: dict[str, Tensor], ids: Sequence[int]) -> Tensor:
    """What the last layer gives before and after each token: (len(ids) + 1, width)."""
    if not ids:
        return torch.zeros(1, config.passed_sizes[-1], dtype=torch.float64)
    hidden = _embedded(tensors, ids)
    for layer, (inputs, units) in enumerate(
        zip(config.input_sizes, config.hidden_sizes, strict=True)
    ):
        module: nn.RNNBase
        if config.kind == "lstm":
            module = nn.LSTM(inputs, units, proj_size=config.recurrent_projection_size or 0)
        elif config.kind == "gru":
            module = nn.GRU(inputs, units)
        else:
            module = nn.RNN(inputs, units, nonlinearity=config.activation)
        prefix = f"layers.{layer}."
        own = {name.removeprefix(prefix): t for name, t in tensors.items() if prefix in name}
        module.double().load_state_dict(own)
        with torch.no_grad():
            hidden, _ = module(hidden)
    return torch.cat((torch.zeros(1, hidden.shape[1], dtype=torch.float64), hidden))


def _feedforward(config: NetworkConfig, tensors: dict[str, Tensor], ids: Sequence[int]) -> Tensor:
    assert config.context_size is not None
    activations = {"tanh": torch.tanh, "relu": torch.relu, "gelu": nn.functional.gelu}
    line = [-1] * config.context_size + list(ids)
    rows = []
    for end in range(config.context_size, len(line) + 1):
        hidden = _embedded(tensors, line[end - config.context_size : end]).flatten()
        for layer in range(len(config.hidden_sizes)):
            weight, bias = tensors[f"layers.{layer}.weight"], tensors[f"layers.{layer}.bias"]
            hidden = activations[config.activation](weight @ hidden + bias)
        rows.append(hidden)
    return torch.stack(rows)


def expected_score(
    checkpoint: Checkpoint, events: Sequence[int], before: Sequence[int] = (END,), floor: float = 0
) -> float:
    """Log-probability of events after some tokens, in nats; floor is that of id -1."""
    rows = expected_log_probs(checkpoint, [*before, *events])[len(before) :]
    chosen = [rows[i][event].item() if event >= 0 else floor for i, event in enumerate(events)]
    return sum(chosen)


KINDS = [
    config_of("rnn"),
    config_of("rnn", activation="relu"),
    config_of("gru"),
    config_of("lstm"),
    config_of("lstm", tied=True, hidden_sizes=(7, 6)),
    config_of("lstm", recurrent_projection_size=4),
    config_of("gru", projection_size=6, tied=True),
    config_of("feedforward"),
    config_of("feedforward", activation="gelu", hidden_sizes=(9,)),
    config_of("feedforward", activation="relu", context_size=1),
]


def named(config: NetworkConfig) -> str:
    """What tells it from the others in a test's name."""
    usual = config_of(config.kind)
    changed = [
        f"{name}={getattr(config, name)}"
        for name in ("activation", "hidden_sizes", "context_size", "tied")
        if getattr(config, name) != getattr(usual, name)
    ]
    sizes = [config.recurrent_projection_size, config.projection_size]
    return "-".join([config.kind, *changed, *(f"projected={s}" for s in sizes if s)])
