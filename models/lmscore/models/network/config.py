"""What a network is made of: kinds and sizes, the tensors that follow from them, and their JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from lmscore.models.errors import ModelFormatError

NetworkKind = Literal["feedforward", "rnn", "lstm", "gru"]
Activation = Literal["tanh", "relu", "gelu"]

GATES: dict[str, int] = {"rnn": 1, "gru": 3, "lstm": 4}
"""Rows of a recurrent layer's weights for each of its units."""

_ACTIVATIONS = {"feedforward": {"tanh", "gelu", "relu"}, "rnn": {"tanh", "relu"}}


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Sizes of a network: embedding, hidden layers, perhaps a projection, output layer.

    A feed-forward network reads the embeddings of the last context_size tokens side by side
    (Bengio et al. 2003). Raises ValueError, whose first word is the field, for what cannot be.
    """

    kind: NetworkKind
    vocabulary_size: int
    embedding_size: int
    hidden_sizes: tuple[int, ...]  # units by layer
    activation: Activation = "tanh"  # of a feed-forward or Elman network
    context_size: int | None = None  # tokens that a feed-forward network looks back
    recurrent_projection_size: int | None = None  # what an LSTM layer passes on; None: its units
    projection_size: int | None = None  # of a linear layer before the output layer
    tied: bool = False  # the output layer's weights are those of the embedding
    dropout: float = 0.0  # while training, on what each layer reads

    def __post_init__(self) -> None:
        if self.kind not in get_args(NetworkKind):
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(get_args(NetworkKind))}")
        self._check_sizes()
        if self.activation not in _ACTIVATIONS.get(self.kind, {"tanh"}):
            raise ValueError(f"activation {self.activation!r} is none that a {self.kind} has")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not within 0 and 1")
        if (self.kind == "feedforward") != (self.context_size is not None):
            raise ValueError("context_size belongs to feed-forward networks, and only to them")
        if self.recurrent_projection_size is not None and self.kind != "lstm":
            raise ValueError("recurrent_projection_size belongs to LSTMs alone")
        if self.tied and self.feature_size != self.embedding_size:
            raise ValueError(
                f"tied needs an embedding as wide as what the output layer reads: "
                f"{self.embedding_size} is not {self.feature_size}"
            )

    def _check_sizes(self) -> None:
        if not self.hidden_sizes:
            raise ValueError("hidden_sizes names no layer")
        for name in (
            "vocabulary_size",
            "embedding_size",
            "hidden_sizes",
            "context_size",
            "recurrent_projection_size",
            "projection_size",
        ):
            value = getattr(self, name)
            for size in value if isinstance(value, tuple) else (value,):
                if size is not None and (type(size) is not int or size < 1):
                    raise ValueError(f"{name} {size!r} is not a whole number above 0")

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """Width of what each hidden layer reads."""
        first = self.embedding_size * (self.context_size or 1)
        return (first, *self.passed_sizes[:-1])

    @property
    def passed_sizes(self) -> tuple[int, ...]:
        """Width of what each hidden layer passes on."""
        if self.recurrent_projection_size is not None:
            return (self.recurrent_projection_size,) * len(self.hidden_sizes)
        return self.hidden_sizes

    @property
    def feature_size(self) -> int:
        """Width of what the output layer reads."""
        return self.projection_size or self.passed_sizes[-1]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, by its name in a checkpoint."""
        shapes: dict[str, tuple[int, ...]] = {
            "embedding.weight": (self.vocabulary_size, self.embedding_size)
        }
        for layer in range(len(self.hidden_sizes)):
            shapes |= self._layer_shapes(layer)
        if self.projection_size is not None:
            shapes["projection.weight"] = (self.projection_size, self.passed_sizes[-1])
            shapes["projection.bias"] = (self.projection_size,)
        if not self.tied:
            shapes["output.weight"] = (self.vocabulary_size, self.feature_size)
        shapes["output.bias"] = (self.vocabulary_size,)
        return shapes

    def _layer_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        prefix = f"layers.{layer}."
        inputs, hidden = self.input_sizes[layer], self.hidden_sizes[layer]
        if self.kind == "feedforward":
            return {f"{prefix}weight": (hidden, inputs), f"{prefix}bias": (hidden,)}
        rows = GATES[self.kind] * hidden
        shapes: dict[str, tuple[int, ...]] = {
            f"{prefix}weight_ih_l0": (rows, inputs),
            f"{prefix}weight_hh_l0": (rows, self.passed_sizes[layer]),
            f"{prefix}bias_ih_l0": (rows,),
            f"{prefix}bias_hh_l0": (rows,),
        }
        if self.recurrent_projection_size is not None:
            shapes[f"{prefix}weight_hr_l0"] = (self.recurrent_projection_size, hidden)
        return shapes

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it, without what is at its default."""
        defaults = {field.name: field.default for field in fields(self)}
        values = {k: v for k, v in asdict(self).items() if v != defaults[k]}
        return values | {"hidden_sizes": list(self.hidden_sizes)}

    @classmethod
    def from_json(cls, path: Path, values: object) -> NetworkConfig:
        """What a file says; ModelFormatError names the file and the field."""
        if not isinstance(values, dict):
            raise ModelFormatError(path, '"network" is not an object')
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ModelFormatError(path, f'"network" has an unknown field "{unknown[0]}"')
        required = ("kind", "vocabulary_size", "embedding_size", "hidden_sizes")
        if missing := [name for name in required if name not in values]:
            raise ModelFormatError(path, f'"network" lacks "{missing[0]}"')
        sizes = values["hidden_sizes"]
        if not isinstance(sizes, list):
            raise ModelFormatError(path, "hidden_sizes is not a list of numbers")
        try:
            return cls(**{**values, "hidden_sizes": tuple(sizes)})
        except (TypeError, ValueError) as error:
            raise ModelFormatError(path, f"network: {error}") from None
