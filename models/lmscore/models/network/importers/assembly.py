"""From another program's tensors to the sizes and the tensors of a network here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lmscore.models.errors import ModelFormatError
from lmscore.models.network.config import GATES, Activation, NetworkConfig, NetworkKind
from lmscore.models.network.importers.sources import SOURCES, Source, recognize

_KINDS: dict[int, NetworkKind] = {4: "lstm", 3: "gru", 1: "rnn"}
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MARKS_OF_TRANSFORMERS = ("self_attn", ".attn.", "attention")


@dataclass(frozen=True, slots=True)
class ImportedNetwork:
    """A network of another program, under the names of this one."""

    source: Source
    config: NetworkConfig
    tensors: dict[str, Tensor]
    without_bias: list[str]  # tensors that the program did not have, and that are zeros


def assemble(
    path: Path, stored: Mapping[str, Tensor], activation: Activation | None = None
) -> ImportedNetwork:
    """The network that tensors make up; its sizes are theirs.

    activation is that of an Elman network, which its tensors do not tell: tanh if not given.
    Raises ModelFormatError for tensors that are unknown, absent, misshapen or not finite.
    """
    source = _source(path, stored)
    names = source.names(stored)
    if extra := stored.keys() - set(names.values()) - source.superseded(stored):
        known = f"which a network of {source.name} does not have"
        raise ModelFormatError(path, f"has {_listed(extra)}, {known}")
    tensors = {here: stored[there] for here, there in names.items()}
    _check_numbers(path, source, tensors)
    config = _Sizes(path, source, tensors, names).config(activation)
    if config.tied:
        tensors.pop("output.weight", None)
    absent = _fill_biases(config, tensors)
    _check_shapes(path, source, config, tensors, names)
    return ImportedNetwork(source, config, tensors, [source.there(name) for name in absent])


def _source(path: Path, stored: Mapping[str, Tensor]) -> Source:
    source = recognize(stored)
    if source is None:
        problem = f"of none of the programs known here: its tensors are {_listed(stored)}"
        if any(mark in name for name in stored for mark in _MARKS_OF_TRANSFORMERS):
            problem += "; it looks like a transformer, and only recurrent networks are read"
        programs = "; ".join(source.name for source in SOURCES)
        raise ModelFormatError(path, f"{problem}. Known are networks of: {programs}")
    if (refusal := source.refusal(stored)) is not None:
        raise ModelFormatError(path, refusal)
    return source


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    rest = f" and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return ", ".join(ordered[:5]) + rest


def _check_numbers(path: Path, source: Source, tensors: Mapping[str, Tensor]) -> None:
    for here, tensor in tensors.items():
        if tensor.layout != torch.strided:
            layout = str(tensor.layout).removeprefix("torch.")
            problem = f"{source.there(here)} is of layout {layout}; save it as to_dense() gives it"
            raise ModelFormatError(path, problem)
        if tensor.dtype not in _DTYPES:
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise ModelFormatError(path, f"{source.there(here)} has numbers of type {dtype}")
        if not bool(torch.isfinite(tensor).all()):
            raise ModelFormatError(path, f"{source.there(here)} has a NaN or infinite value")


class _Sizes:
    """Reads sizes off the shapes of tensors."""

    def __init__(
        self, path: Path, source: Source, tensors: Mapping[str, Tensor], names: Mapping[str, str]
    ) -> None:
        self._path, self._source, self._tensors, self._names = path, source, tensors, names

    def config(self, activation: Activation | None) -> NetworkConfig:
        """The sizes; what they do not agree on is found when shapes are compared."""
        vocabulary_size, embedding_size = self._matrix("embedding.weight").shape
        layers = [self._layer(layer) for layer in range(self._depth())]
        kinds, hidden_sizes, passed_sizes = zip(*layers, strict=True)
        if len(set(kinds)) > 1:
            problem = f"its layers are of different kinds: {', '.join(kinds)}"
            raise ModelFormatError(self._path, problem)
        if activation is not None and kinds[0] != "rnn":
            problem = f"of kind {kinds[0]}, which has no choice of activation"
            raise ModelFormatError(self._path, problem)
        projection = self._matrix_if_any("projection.weight")
        try:
            config = NetworkConfig(
                kinds[0],
                vocabulary_size,
                embedding_size,
                hidden_sizes,
                activation or "tanh",
                recurrent_projection_size=next(filter(None, passed_sizes), None),
                projection_size=None if projection is None else projection.shape[0],
            )
            return replace(config, tied=self._tied(config))
        except ValueError as error:
            raise ModelFormatError(self._path, f"an unlikely network: {error}") from None

    def _depth(self) -> int:
        layers = {int(name.split(".")[1]) for name in self._tensors if name.startswith("layers.")}
        return max(layers) + 1

    def _layer(self, layer: int) -> tuple[NetworkKind, int, int | None]:
        """Kind, units, and what a projection within the layer passes on."""
        recurrent = self._matrix(f"layers.{layer}.weight_hh_l0")
        projection = self._matrix_if_any(f"layers.{layer}.weight_hr_l0")
        rows, columns = recurrent.shape
        units = columns if projection is None else projection.shape[1]
        kind = _KINDS.get(rows // units) if units and rows % units == 0 else None
        if kind is None:
            name = self._names[f"layers.{layer}.weight_hh_l0"]
            factors = ", ".join(f"{gates} ({kind})" for kind, gates in GATES.items())
            problem = f"{name} is of shape {[rows, columns]}: {rows} rows are not {units} times "
            raise ModelFormatError(self._path, f"{problem}one of {factors}")
        return kind, units, None if projection is None else projection.shape[0]

    def _tied(self, config: NetworkConfig) -> bool:
        embedding, output = self._tensors["embedding.weight"], self._tensors.get("output.weight")
        if output is None:
            if not self._source.may_share_output:
                raise self._lacks("output.weight")
            return True
        same_width = config.feature_size == config.embedding_size
        return same_width and embedding.shape == output.shape and torch.equal(embedding, output)

    def _matrix_if_any(self, here: str) -> Tensor | None:
        return self._matrix(here) if here in self._tensors else None

    def _matrix(self, here: str) -> Tensor:
        tensor = self._tensors.get(here)
        if tensor is None:
            raise self._lacks(here)
        if tensor.dim() != 2:
            problem = f"{self._names[here]} is of shape {list(tensor.shape)}, not a matrix"
            raise ModelFormatError(self._path, problem)
        return tensor

    def _lacks(self, here: str) -> ModelFormatError:
        return ModelFormatError(self._path, f"lacks {self._source.there(here)}")


def _fill_biases(config: NetworkConfig, tensors: dict[str, Tensor]) -> list[str]:
    """Add zeros for the biases that are absent, and name them."""
    absent = [name for name in config.shapes() if "bias" in name and name not in tensors]
    like = tensors["embedding.weight"]
    for name in absent:
        tensors[name] = torch.zeros(config.shapes()[name], dtype=like.dtype)
    return absent


def _check_shapes(
    path: Path,
    source: Source,
    config: NetworkConfig,
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
) -> None:
    expected = config.shapes()
    if missing := [name for name in expected if name not in tensors]:
        raise ModelFormatError(path, f"lacks {source.there(missing[0])}")
    for here, tensor in tensors.items():
        there = names.get(here, here)
        if here not in expected:
            raise ModelFormatError(path, f"has {there}, and its like is not in every layer")
        if tuple(tensor.shape) != expected[here]:
            shape, right = list(tensor.shape), list(expected[here])
            problem = f"{there} is of shape {shape}, where the other tensors ask for {right}"
            raise ModelFormatError(path, problem)
