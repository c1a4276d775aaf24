"""Networks on a device that PyTorch drives, such as a GPU: the same algorithm in its operations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lmscore.models.network.backend import Backend, distinct_rows, levels
from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.module import State
from lmscore.models.network.trie import PrefixTrie

_TILE_LOGITS = 1 << 25  # 128 MiB of float32 at once


class DeviceBackend(Backend):
    """A network on a device, in one precision; sums of exponentials in float32 at least."""

    def __init__(
        self,
        config: NetworkConfig,
        tensors: Mapping[str, Tensor],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(config, device)
        self._dtype = dtype
        self._weights = {name: tensor.to(device, dtype) for name, tensor in tensors.items()}
        self._output = self._weights.get("output.weight", self._weights["embedding.weight"])

    @property
    def state_dtype(self) -> torch.dtype:
        """States have the precision of the products."""
        return self._dtype

    def _run_layers(
        self, trie: PrefixTrie, roots: State, kept: NDArray[np.int64]
    ) -> tuple[Tensor, State]:
        steps = [
            (slice(level.begin, level.end), self.indices(level.distinct), self.indices(level.ranks))
            for level in levels(trie)
        ]
        parents = self.indices(trie.parents)
        kept_rows = self.indices(kept)
        states: list[Tensor] = []
        width = len(roots) // len(self.config.hidden_sizes)
        below = self._embed(self.indices(trie.tokens[trie.roots :]))
        for layer in range(len(self.config.hidden_sizes)):
            inputs = self._inputs(layer, below)
            before = roots[layer * width : (layer + 1) * width]
            arrays = [
                torch.cat((part, part.new_empty(len(below), part.shape[1]))) for part in before
            ]
            for rows, distinct, ranks in steps:
                recurrent = arrays[0][distinct] @ self._layer(layer, "weight_hh_l0").t()
                own = slice(rows.start - trie.roots, rows.stop - trie.roots)
                self._cells(layer, recurrent[ranks], inputs[own], arrays, parents[rows], rows)
            states.extend(array[kept_rows] for array in arrays)
            below = arrays[0][trie.roots :]
        return torch.cat((roots[(len(self.config.hidden_sizes) - 1) * width], below)), tuple(states)

    def _layer(self, layer: int, name: str) -> Tensor:
        return self._weights[f"layers.{layer}.{name}"]

    def _embed(self, tokens: Tensor) -> Tensor:
        embedded = functional.embedding(tokens.clamp(min=0), self._weights["embedding.weight"])
        return embedded * (tokens >= 0).unsqueeze(-1)

    def _inputs(self, layer: int, below: Tensor) -> Tensor:
        bias = self._layer(layer, "bias_ih_l0")
        if self.config.kind != "gru":  # a GRU's reset gate multiplies part of the other bias
            bias = bias + self._layer(layer, "bias_hh_l0")
        return torch.addmm(bias, below, self._layer(layer, "weight_ih_l0").t())

    def _cells(
        self,
        layer: int,
        recurrent: Tensor,
        inputs: Tensor,
        arrays: list[Tensor],  # outputs and, of an LSTM, cells of all rows
        parents: Tensor,
        rows: slice,
    ) -> None:
        """Fill in some rows, given what their parents and their inputs add to the gates."""
        match self.config.kind:
            case "lstm":
                i, f, g, o = (recurrent + inputs).chunk(4, 1)
                cell = f.sigmoid() * arrays[1][parents] + i.sigmoid() * g.tanh()
                arrays[1][rows] = cell
                output = o.sigmoid() * cell.tanh()
                if self.config.recurrent_projection_size is not None:
                    output = output @ self._layer(layer, "weight_hr_l0").t()
                arrays[0][rows] = output
            case "gru":
                bias = self._layer(layer, "bias_hh_l0")
                (r, z, n), (r_in, z_in, n_in) = (recurrent + bias).chunk(3, 1), inputs.chunk(3, 1)
                new = (n_in + (r + r_in).sigmoid() * n).tanh()
                arrays[0][rows] = torch.lerp(new, arrays[0][parents], (z + z_in).sigmoid())
            case _:
                activation = torch.relu if self.config.activation == "relu" else torch.tanh
                arrays[0][rows] = activation(recurrent + inputs)

    def _features(self, tops: Tensor) -> Tensor:
        """What the output layer reads: (rows, feature_size)."""
        if self.config.kind == "feedforward":
            tops = self._feedforward(tops)
        if self.config.projection_size is None:
            return tops
        return functional.linear(
            tops, self._weights["projection.weight"], self._weights["projection.bias"]
        )

    def _feedforward(self, windows: Tensor) -> Tensor:
        activation = {"tanh": torch.tanh, "relu": torch.relu, "gelu": functional.gelu}[
            self.config.activation
        ]
        hidden = self._embed(windows).flatten(1)
        for layer in range(len(self.config.hidden_sizes)):
            weight, bias = self._layer(layer, "weight"), self._layer(layer, "bias")
            hidden = activation(functional.linear(hidden, weight, bias))
        return hidden

    def event_log_probs(
        self, tops: Tensor, rows: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Log-probability of each token in the row given with it; NaN without such a token."""
        wanted, places = np.unique(rows, return_inverse=True)
        tops = tops[self.indices(wanted)]
        if self.config.kind == "feedforward":
            tops, same = distinct_rows(tops)
            places = same.numpy(force=True)[places]
        order = np.argsort(places, kind="stable")
        result = np.empty(len(tokens))
        for first in range(0, len(tops), self._tile_rows):
            features = self._features(tops[first : first + self._tile_rows])
            bounds = np.searchsorted(places[order], (first, first + len(features)))
            events = order[bounds[0] : bounds[1]]
            result[events] = self._log_probs_of(features, places[events] - first, tokens[events])
        result[tokens < 0] = np.nan
        return result

    @property
    def _tile_rows(self) -> int:
        return max(1, _TILE_LOGITS // len(self._output))

    def _logits(self, features: Tensor) -> Tensor:
        logits = torch.addmm(self._weights["output.bias"], features, self._output.t())
        return logits if logits.dtype == torch.float64 else logits.float()

    def _log_probs_of(
        self, features: Tensor, rows: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        logits = self._logits(features)
        row, token = self.indices(rows), self.indices(np.maximum(tokens, 0))
        found = logits[row, token] - torch.logsumexp(logits, 1)[row]
        return found.double().numpy(force=True)

    def next_log_probs(self, tops: Tensor) -> NDArray[np.float32]:
        """Log-probability of every token in every row: (rows, vocabulary)."""
        return torch.log_softmax(self._logits(self._features(tops)), 1).numpy(force=True)
