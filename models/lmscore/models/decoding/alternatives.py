"""The likeliest tokens of some rows, by the model's own distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel, u64
from lmscore.models.decoding.weights import BLOCK, LogProbs, Scratch, block_maxima


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The likeliest tokens, of equal ones the lower id first; -1 and -inf where there is none."""

    token_ids: NDArray[np.int64]  # (rows, most wanted)
    log_probs: NDArray[np.float64]  # (rows, most wanted) nats

    @classmethod
    def of(
        cls,
        log_probs: LogProbs,
        rows: NDArray[np.int64],
        wanted: NDArray[np.int64],
        scratch: Scratch,
    ) -> Self | None:
        """Those of some rows, as many as each wants; None if no row wants any."""
        most = int(wanted.max(initial=0))
        if most == 0:
            return None
        token_ids = np.full((len(rows), most), -1, np.int64)
        top = np.full((len(rows), most), -np.inf)
        _fill(log_probs, rows, wanted, scratch, token_ids, top)
        return cls(token_ids, top)


@kernel
def _fill(
    log_probs: LogProbs,
    rows: NDArray[np.int64],
    wanted: NDArray[np.int64],
    scratch: Scratch,
    token_ids: NDArray[np.int64],
    top: NDArray[np.float64],
) -> None:
    size = u64(log_probs.shape[1])
    for i in range(rows.size):
        if wanted[i] == 0:
            continue
        block_maxima(log_probs, rows[i], scratch.maxima, scratch.lanes)
        last = wanted[i] - 1
        for block in range(u64(scratch.maxima.size)):
            if not scratch.maxima[block] > top[i, last]:
                continue
            for token in range(block * BLOCK, min((block + u64(1)) * BLOCK, size)):
                log_prob = log_probs[rows[i], token]
                if log_prob > top[i, last]:
                    slot = last
                    while slot > 0 and top[i, slot - 1] < log_prob:
                        top[i, slot] = top[i, slot - 1]
                        token_ids[i, slot] = token_ids[i, slot - 1]
                        slot -= 1
                    top[i, slot] = log_prob
                    token_ids[i, slot] = token
