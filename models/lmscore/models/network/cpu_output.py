"""The output layer on the CPU: logits tile by tile, added up while they are in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmscore.models.network import cells
from lmscore.models.network.workers import Workers

_TILE_ROWS, _TILE_COLUMNS = 512, 1024
"""A tile of logits takes 2 MiB, which stays in a core's caches until it has been added up."""


class OutputLayer:
    """Logits are features weight^T + bias, with products in the weight's dtype."""

    def __init__(self, weight: Tensor, bias: Tensor, workers: Workers) -> None:
        self._weight = weight  # (vocabulary, feature_size) float32 or bfloat16
        self._bias = bias.numpy()  # (vocabulary,) float32
        self._workers = workers

    def logits(
        self, features: Tensor, rows: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """The logits of some tokens in some rows: (pairs,). NaN for a token below 0."""
        logits = np.full(len(tokens), np.nan)

        def work(begin: int, end: int) -> None:
            if self._weight.dtype == torch.float32:
                part = slice(begin, end)
                right = self._weight.numpy()
                cells.products_of_pairs(
                    features.numpy(), rows[part], right, tokens[part], logits[part]
                )
                return
            for first in range(begin, end, _TILE_ROWS):
                part = slice(first, min(first + _TILE_ROWS, end))
                logits[part] = self._gathered_logits(features, rows[part], tokens[part])

        self._workers.split(work, len(tokens), features.shape[1])
        logits += self._bias[np.maximum(tokens, 0)]
        return logits

    def _gathered_logits(
        self, features: Tensor, rows: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        right = self._weight[torch.from_numpy(np.maximum(tokens, 0))].float()
        products = (features[torch.from_numpy(rows)] * right).sum(1).double().numpy()
        return np.where(tokens >= 0, products, np.nan)

    def log_sum_exp(self, features: Tensor) -> NDArray[np.float64]:
        """Of the logits of each row: (rows,). They are never in memory together."""
        return self._over_tiles(features, lambda _rows, _columns, _products: None)

    def log_probs(self, features: Tensor) -> NDArray[np.float32]:
        """Log-probability of every token in every row: (rows, vocabulary)."""
        result = np.empty((len(features), len(self._weight)), np.float32)

        def keep(rows: slice, columns: slice, products: cells.Floats) -> None:
            result[rows, columns] = products

        amounts = self._over_tiles(features, keep)

        def finish(begin: int, end: int) -> None:
            cells.subtract_rows(result[begin:end], self._bias, amounts[begin:end])

        self._workers.split(finish, len(result), result.shape[1])
        return result

    def _over_tiles(
        self, features: Tensor, see: Callable[[slice, slice, cells.Floats], None]
    ) -> NDArray[np.float64]:
        """The log-sum-exp of each row; see is shown every tile of logits before their bias."""
        starts = range(0, len(self._weight), _TILE_COLUMNS)
        maxima = np.empty((len(starts), len(features)), np.float32)
        sums = np.empty_like(maxima)
        operand = features.to(self._weight.dtype)
        row_tiles = -(-len(features) // _TILE_ROWS)

        def work(tiles: Iterable[int]) -> None:
            size = min(_TILE_ROWS, len(features)) * _TILE_COLUMNS
            buffer = torch.empty(size, dtype=operand.dtype)
            for tile in tiles:
                column, row = divmod(tile, row_tiles)
                rows = slice(row * _TILE_ROWS, (row + 1) * _TILE_ROWS)
                columns = slice(starts[column], starts[column] + _TILE_COLUMNS)
                left, right = operand[rows], self._weight[columns].t()
                out = buffer[: len(left) * right.shape[1]].view(len(left), -1)
                products = torch.mm(left, right, out=out).float().numpy()
                bias = self._bias[columns]
                cells.sum_exponentials(products, bias, maxima[column, rows], sums[column, rows])
                see(rows, columns, products)

        self._workers.share(work, len(starts) * row_tiles)
        largest = maxima.max(axis=0)
        total = (sums * np.exp((maxima - largest).astype(np.float64))).sum(axis=0)
        log_sums: NDArray[np.float64] = np.log(total) + largest
        return log_sums
