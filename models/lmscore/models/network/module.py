"""The networks as PyTorch modules: what is trained, and what fast scoring is checked against."""

from __future__ import annotations

from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lmscore.models.network.config import NetworkConfig

State: TypeAlias = tuple[Tensor, ...]
"""What a network remembers of a batch of texts, the batch first in each tensor.

An LSTM has h and c of each layer in turn, an RNN or GRU h, a feed-forward network the last tokens.
"""

NO_TOKEN = -1
"""Stands where a feed-forward network looks back beyond the beginning; its embedding is zero."""


class NetworkModule(nn.Module):
    """A network that turns token ids into the logits of the tokens that follow.

    Its state_dict has the names and shapes of NetworkConfig.shapes.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding_size)
        self.layers = nn.ModuleList(_layer(config, i) for i in range(len(config.hidden_sizes)))
        self.dropout = nn.Dropout(config.dropout)
        self.projection = (
            nn.Linear(config.passed_sizes[-1], config.projection_size)
            if config.projection_size is not None
            else None
        )
        self.output: nn.Module = (
            _TiedOutput(self.embedding)
            if config.tied
            else nn.Linear(config.feature_size, config.vocabulary_size)
        )

    def forward(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits after each token, (batch, time, vocabulary), and the state after the last.

        token_ids: (batch, time). NO_TOKEN reads as a zero embedding.
        """
        features, state = self.features(token_ids, state)
        logits: Tensor = self.output(features)
        return logits, state

    def features(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """What the output layer reads after each token: (batch, time, feature_size)."""
        if self.config.kind == "feedforward":
            hidden, state = self._feedforward(token_ids, state)
        else:
            hidden, state = self._recurrent(token_ids, state)
        hidden = self.dropout(hidden)
        if self.projection is not None:
            hidden = self.projection(hidden)
        return hidden, state

    def initial_state(self, batch: int) -> State:
        """The state before any token: zeros, or nothing to look back at."""
        config, like = self.config, self.embedding.weight
        if config.context_size is not None:
            shape = (batch, config.context_size)
            return (torch.full(shape, NO_TOKEN, dtype=torch.int64, device=like.device),)
        sizes = [
            size
            for hidden, passed in zip(config.hidden_sizes, config.passed_sizes, strict=True)
            for size in ((passed, hidden) if config.kind == "lstm" else (passed,))
        ]
        return tuple(torch.zeros(batch, s, device=like.device, dtype=like.dtype) for s in sizes)

    def _embed(self, token_ids: Tensor) -> Tensor:
        embedded = functional.embedding(token_ids.clamp(min=0), self.embedding.weight)
        return embedded * (token_ids >= 0).unsqueeze(-1)

    def _feedforward(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        size = cast("int", self.config.context_size)
        line = torch.cat((state[0][:, 1:], token_ids), 1)  # (batch, size - 1 + time)
        embedded = self._embed(line).unfold(1, size, 1)  # (batch, time, embedding, size)
        hidden = embedded.transpose(2, 3).flatten(2)  # (batch, time, size * embedding)
        activate = getattr(
            functional if self.config.activation == "gelu" else torch, self.config.activation
        )
        for layer in self.layers:
            hidden = activate(layer(self.dropout(hidden)))
        return hidden, (torch.cat((state[0], token_ids), 1)[:, -size:],)

    def _recurrent(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = self._embed(token_ids)
        after: list[Tensor] = []
        width = len(state) // len(self.layers)
        for i, layer in enumerate(self.layers):
            before = tuple(part.unsqueeze(0) for part in state[i * width : (i + 1) * width])
            hidden, last = layer(self.dropout(hidden), before if width > 1 else before[0])
            after.extend(part.squeeze(0) for part in (last if width > 1 else (last,)))
        return hidden, tuple(after)


class _TiedOutput(nn.Module):
    """An output layer whose weights are an embedding's, and stand in state_dict only as those."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))
        self._embedding = (embedding,)  # within a tuple, it is no submodule

    def forward(self, features: Tensor) -> Tensor:
        return functional.linear(features, self._embedding[0].weight, self.bias)


def _layer(config: NetworkConfig, layer: int) -> nn.Module:
    inputs, hidden = config.input_sizes[layer], config.hidden_sizes[layer]
    match config.kind:
        case "feedforward":
            return nn.Linear(inputs, hidden)
        case "rnn":
            return nn.RNN(inputs, hidden, nonlinearity=config.activation, batch_first=True)
        case "gru":
            return nn.GRU(inputs, hidden, batch_first=True)
        case "lstm":
            size = config.recurrent_projection_size or 0
            return nn.LSTM(inputs, hidden, proj_size=size, batch_first=True)
