"""From an estimated model to the table that files and the automaton are made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.estimation.backoff_model import BackoffModel
from lmscore.models.estimation.threads import even_parts, for_each_part
from lmscore.models.estimation.workspace import Workspace
from lmscore.models.ngram.table import NgramTable, OrderTable


def to_table(
    model: BackoffModel, words: list[bytes], workspace: Workspace | None = None
) -> NgramTable:
    """The n-grams that a model keeps; words are by id."""
    workspace = workspace or Workspace()
    orders: list[OrderTable] = []
    shorter = np.empty((1, 0), np.uint32)
    for n, level in enumerate(model.levels, 1):
        ids = workspace.empty((len(level), n), np.uint32)
        _spell(shorter, level.begins, level.words, ids)
        table = OrderTable(
            ids,
            _log10(model.probs[n - 1], workspace),
            _log10(model.backoffs[n - 1], workspace)
            if n < model.order
            else np.zeros(len(level), np.float32),
        )
        orders.append(_rows(table, model.kept[n - 1]))
        shorter = ids
    return NgramTable(words, orders)


def _rows(table: OrderTable, kept: NDArray[np.bool_]) -> OrderTable:
    if kept.all():
        return table
    return OrderTable(table.ids[kept], table.log10_probs[kept], table.log10_backoffs[kept])


def _log10(values: NDArray[np.float64], workspace: Workspace) -> NDArray[np.float32]:
    """Logarithms of probabilities and weights, -inf of 0."""
    logs = workspace.empty(len(values), np.float32)

    def part(first: int, last: int) -> None:
        with np.errstate(divide="ignore"):
            logs[first:last] = np.log10(values[first:last])

    for_each_part(part, even_parts(np.arange(1, len(values) + 1)))
    return logs


def _spell(
    shorter: NDArray[np.uint32],
    begins: NDArray[np.int64],
    words: NDArray[np.uint32],
    ids: NDArray[np.uint32],
) -> None:
    """Write out the n-grams of a length, given those one word shorter."""
    for_each_part(
        lambda first, last: _spell_part(shorter, begins, words, first, last, ids),
        even_parts(begins[1:]),
    )


@kernel
def _spell_part(
    shorter: NDArray[np.uint32],
    begins: NDArray[np.int64],
    words: NDArray[np.uint32],
    first: int,
    last: int,
    ids: NDArray[np.uint32],
) -> None:
    length = shorter.shape[1]
    for context in range(first, last):
        for entry in range(begins[context], begins[context + 1]):
            for k in range(length):
                ids[entry, k] = shorter[context, k]
            ids[entry, length] = words[entry]
