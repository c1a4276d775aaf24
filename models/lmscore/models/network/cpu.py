"""Networks on the CPU: PyTorch multiplies matrices, compiled loops do the rest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmscore.models.network import cells
from lmscore.models.network.backend import Backend, Level, distinct_rows, levels
from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.cpu_output import OutputLayer
from lmscore.models.network.module import State
from lmscore.models.network.trie import PrefixTrie
from lmscore.models.network.workers import Workers

_TILE_ROWS = 512  # of a feed-forward network's inputs, which are wide, at once


class CpuBackend(Backend):
    """A network on threads; products in float32 or bfloat16, everything else in float32."""

    def __init__(
        self,
        config: NetworkConfig,
        tensors: Mapping[str, Tensor],
        dtype: torch.dtype,
        workers: Workers,
    ) -> None:
        super().__init__(config, torch.device("cpu"))
        self._workers = workers
        self._dtype = dtype
        self._weights = {
            name: tensor.to(torch.float32 if "bias" in name else dtype).contiguous()
            for name, tensor in tensors.items()
        }
        weight = self._weights.get("output.weight", self._weights["embedding.weight"])
        self._output = OutputLayer(weight, self._weights["output.bias"], workers)
        self._biases = [self._input_bias(i) for i in range(len(config.hidden_sizes))]

    @property
    def state_dtype(self) -> torch.dtype:
        """States are float32 whatever the products are."""
        return torch.float32

    def _input_bias(self, layer: int) -> Tensor:
        """What is added to the gates of a recurrent layer, whatever its input."""
        if self.config.kind == "feedforward":
            return self._weights[f"layers.{layer}.bias"]
        bias = self._weights[f"layers.{layer}.bias_ih_l0"].clone()
        recurrent = self._weights[f"layers.{layer}.bias_hh_l0"]
        # A GRU's reset gate multiplies the recurrent bias of its new gate: that one stays apart.
        added = 2 * self.config.hidden_sizes[layer] if self.config.kind == "gru" else len(bias)
        bias[:added] += recurrent[:added]
        return bias

    def _run_layers(
        self, trie: PrefixTrie, roots: State, kept: NDArray[np.int64]
    ) -> tuple[Tensor, State]:
        steps = list(levels(trie))
        kept_rows = torch.from_numpy(kept)
        states: list[Tensor] = []
        width = len(roots) // len(self.config.hidden_sizes)
        inputs, input_rows = self._token_inputs(trie)
        outputs = roots[0]
        for layer in range(len(self.config.hidden_sizes)):
            if layer:
                inputs = self._linear(
                    outputs[trie.roots :],
                    self._weights[f"layers.{layer}.weight_ih_l0"],
                    self._biases[layer],
                )
                input_rows = np.arange(len(inputs))
            before = roots[layer * width : (layer + 1) * width]
            arrays = [torch.empty(len(trie), part.shape[1]) for part in before]
            for array, part in zip(arrays, before, strict=True):
                array[: trie.roots] = part
            for step in steps:
                self._step(layer, step, trie, inputs, input_rows, arrays)
            states.extend(array.index_select(0, kept_rows) for array in arrays)
            outputs = arrays[0]
        return outputs, tuple(states)

    def _token_inputs(self, trie: PrefixTrie) -> tuple[Tensor, NDArray[np.int64]]:
        """What the embeddings add to the first layer's gates, once a distinct token."""
        tokens, rows = np.unique(trie.tokens[trie.roots :], return_inverse=True)
        embedded = self._embed(torch.from_numpy(tokens))
        return self._linear(embedded, self._weights["layers.0.weight_ih_l0"], self._biases[0]), rows

    def _embed(self, tokens: Tensor) -> Tensor:
        embedded = self._weights["embedding.weight"][tokens.clamp(min=0)].float()
        embedded[tokens < 0] = 0  # a token that the vocabulary lacks
        return embedded

    def _step(
        self,
        layer: int,
        level: Level,
        trie: PrefixTrie,
        inputs: Tensor,
        input_rows: NDArray[np.int64],
        arrays: list[Tensor],  # outputs and, of an LSTM, cells of all rows
    ) -> None:
        """Fill in the rows of one level of a layer."""
        weight = self._weights[f"layers.{layer}.weight_hh_l0"]
        own = slice(level.begin, level.end)

        def finish(recurrent: Tensor, first: int, ranks: NDArray[np.int64], part: slice) -> None:
            rows = slice(own.start + part.start, own.start + part.stop)
            self._cells(
                layer,
                (recurrent.numpy(), ranks - first),
                (inputs.numpy(), input_rows[rows.start - trie.roots : rows.stop - trie.roots]),
                trie.parents[rows],
                arrays,
                rows,
            )

        def work(begin: int, end: int) -> None:
            """All that concerns the children of some of the parents."""
            children = np.searchsorted(level.ranks, (begin, end))
            part = slice(int(children[0]), int(children[1]))
            before = arrays[0].index_select(0, torch.from_numpy(level.distinct[begin:end]))
            recurrent = self._multiply(before, weight)
            finish(recurrent, begin, level.ranks[part], part)

        if self._workers.parts(len(level.distinct), weight.numel()) > 1:
            self._workers.split(work, len(level.distinct), weight.numel())
            return
        before = arrays[0].index_select(0, torch.from_numpy(level.distinct))
        whole = slice(0, level.end - level.begin)
        finish(self._linear(before, weight, None), 0, level.ranks, whole)

    def _cells(
        self,
        layer: int,
        recurrent: tuple[cells.Floats, cells.Indices],
        inputs: tuple[cells.Floats, cells.Indices],
        parents: NDArray[np.int64],
        arrays: list[Tensor],
        rows: slice,
    ) -> None:
        outputs = arrays[0].numpy()
        match self.config.kind:
            case "lstm":
                projection = self._weights.get(f"layers.{layer}.weight_hr_l0")
                states = arrays[1].numpy()
                unprojected = outputs[rows] if projection is None else np.empty_like(states[rows])
                cells.lstm_rows(*recurrent, *inputs, states, parents, unprojected, states[rows])
                if projection is not None:
                    arrays[0][rows] = self._multiply(torch.from_numpy(unprojected), projection)
            case "gru":
                units = self.config.hidden_sizes[layer]
                bias = self._weights[f"layers.{layer}.bias_hh_l0"].numpy()[2 * units :]
                cells.gru_rows(*recurrent, bias, *inputs, outputs, parents, outputs[rows])
            case _:
                activation = (
                    cells.relu_rows if self.config.activation == "relu" else cells.tanh_rows
                )
                activation(*recurrent, *inputs, outputs[rows])

    def _multiply(self, left: Tensor, weight: Tensor) -> Tensor:
        """The product left weight^T in float32, in this thread."""
        return torch.mm(left.to(self._dtype), weight.t()).float()

    def _linear(self, left: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The product left weight^T + bias, split over the threads by rows or by columns."""
        result = torch.empty(len(left), len(weight))

        def rows(begin: int, end: int) -> None:
            result[begin:end] = self._multiply(left[begin:end], weight)
            if bias is not None:
                result[begin:end] += bias

        def columns(begin: int, end: int) -> None:
            result[:, begin:end] = self._multiply(left, weight[begin:end])
            if bias is not None:
                result[:, begin:end] += bias[begin:end]

        if self._workers.parts(len(left), weight.numel()) > 1:
            self._workers.split(rows, len(left), weight.numel())
        else:
            self._workers.split(columns, len(weight), left.numel())
        return result

    def _features(self, tops: Tensor) -> Tensor:
        """What the output layer reads: (rows, feature_size)."""
        if self.config.kind == "feedforward":
            tops = self._feedforward(tops)
        if self.config.projection_size is None:
            return tops
        return self._linear(
            tops, self._weights["projection.weight"], self._weights["projection.bias"]
        )

    def _feedforward(self, windows: Tensor) -> Tensor:
        activation = {
            "tanh": torch.tanh_,
            "relu": torch.relu_,
            "gelu": torch.nn.functional.gelu,
        }[self.config.activation]
        result = torch.empty(len(windows), self.config.hidden_sizes[-1])

        def work(begin: int, end: int) -> None:
            for first in range(begin, end, _TILE_ROWS):
                part = slice(first, min(first + _TILE_ROWS, end))
                hidden = self._embed(windows[part]).flatten(1)
                for layer, bias in enumerate(self._biases):
                    weight = self._weights[f"layers.{layer}.weight"]
                    hidden = activation(self._multiply(hidden, weight) + bias)
                result[part] = hidden

        cost = sum(self._weights[f"layers.{i}.weight"].numel() for i in range(len(self._biases)))
        self._workers.split(work, len(windows), cost)
        return result

    def event_log_probs(
        self, tops: Tensor, rows: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Log-probability of each token in the row given with it; NaN without such a token."""
        wanted, places = np.unique(rows, return_inverse=True)
        tops = tops.index_select(0, torch.from_numpy(wanted))
        if self.config.kind == "feedforward":
            tops, same = distinct_rows(tops)
            places = same.numpy()[places]
        features = self._features(tops)
        logits = self._output.logits(features, places, tokens)
        return logits - self._output.log_sum_exp(features)[places]

    def next_log_probs(self, tops: Tensor) -> NDArray[np.float32]:
        """Log-probability of every token in every row: (rows, vocabulary)."""
        return self._output.log_probs(self._features(tops))
