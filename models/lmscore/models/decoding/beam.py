"""Beam search: each step keeps the best continuations of the texts kept so far.

A step takes the `width` best continuations, those that end a text included; these leave the beam,
the others are continued. So a beam of 1 is greedy choice, and the beam fills up again from what
goes on.

When to stop. Log-probabilities are at most 0, and so are penalized ones. A text that is still open
has a sum s, and every continuation of it a sum s' <= s <= 0 over n' tokens, n' <= max_tokens. Its
score s' / n' ** length_penalty is at most s' / max_tokens ** length_penalty, a number that is not
positive being divided by more, hence at most s / max_tokens ** length_penalty. Once no open text
has a bound above the worst of num_results finished scores, none can displace a result.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel, u64
from lmscore.models.decoding.parameters import Beam, Decoding
from lmscore.models.decoding.rows import FinishReason, Rows
from lmscore.models.decoding.selection import Changes, change_row, restore_row, saved_values
from lmscore.models.decoding.weights import BLOCK, LogProbs, Scratch, block_maxima


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A text that beam search found; token_ids has the token that ended it."""

    token_ids: list[int]
    log_probs: list[float]  # the model's own, in nats, one a token
    score: float  # with the repetition penalty, if any, and by length
    reason: FinishReason

    @property
    def log_prob(self) -> float:
        """Sum of log_probs."""
        return float(sum(self.log_probs))


class BeamSearch:
    """The search of one request; its open texts are rows of a batch, in their order."""

    def __init__(
        self,
        strategy: Beam,
        settings: Decoding,
        ends_text: Callable[[list[int]], bool] | None,
    ) -> None:
        """ends_text as in NewSequence."""
        self._strategy = strategy
        self._max_tokens = settings.max_tokens
        self._ends_text = ends_text
        self._totals = np.zeros(1)  # (open texts,) sums of penalized log-probabilities
        self._tokens = np.empty((1, 0), np.int64)  # (open texts, steps)
        self._log_probs = np.empty((1, 0))  # (open texts, steps)
        self.results: list[Hypothesis] = []
        """The best finished texts so far, best first."""

    def copy(self) -> BeamSearch:
        """A search that goes on from here by itself."""
        copied = copy(self)
        copied.results = list(self.results)
        return copied

    def step(
        self,
        log_probs: LogProbs,
        at: NDArray[np.int64],
        rows: Rows,
        changes: Changes,
        scratch: Scratch,
        eos: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """One more token: the rows to go on from, and their tokens; none once it is over.

        at is where the open texts are among the rows of log_probs, which is changed meanwhile.
        """
        parents, tokens, totals = best_continuations(
            log_probs, at, self._totals, self._strategy.width, changes, scratch
        )
        if not len(parents) and not self.results:
            self._finish(0, FinishReason.DEAD_END)
        reasons = rows.reasons(at[parents], tokens, eos)
        self._extend(parents, tokens, totals, log_probs[at[parents], tokens])
        self._check_texts(reasons, rows, at[parents])
        for ended in np.flatnonzero(reasons).tolist():
            self._finish(ended, FinishReason(int(reasons[ended])))
        going_on = np.flatnonzero(reasons == FinishReason.RUNNING)
        if self._is_over(going_on):
            going_on = going_on[:0]
        self._keep(going_on)
        return at[parents[going_on]], tokens[going_on]

    def _extend(
        self,
        parents: NDArray[np.int64],
        tokens: NDArray[np.int64],
        totals: NDArray[np.float64],
        log_probs: LogProbs,
    ) -> None:
        self._totals = totals
        self._tokens = np.column_stack((self._tokens[parents], tokens))
        self._log_probs = np.column_stack((self._log_probs[parents], log_probs))

    def _check_texts(self, reasons: NDArray[np.uint8], rows: Rows, at: NDArray[np.int64]) -> None:
        """Note which texts a stop string ends."""
        if self._ends_text is None:
            return
        open_or_long = np.isin(reasons, (FinishReason.RUNNING, FinishReason.LENGTH))
        for i in np.flatnonzero(open_or_long & (rows.steps[at] >= rows.min_tokens[at])):
            if self._ends_text(self._tokens[i].tolist()):
                reasons[i] = FinishReason.STOP

    def _finish(self, i: int, reason: FinishReason) -> None:
        """Enter a text among the results; of equal scores the earlier one stays ahead."""
        tokens, log_probs = self._tokens[i].tolist(), self._log_probs[i].tolist()
        score = float(self._totals[i]) / max(len(tokens), 1) ** self._strategy.length_penalty
        self.results.append(Hypothesis(tokens, log_probs, score, reason))
        self.results.sort(key=lambda hypothesis: -hypothesis.score)
        del self.results[self._strategy.num_results :]

    def _is_over(self, going_on: NDArray[np.int64]) -> bool:
        if len(self.results) < self._strategy.num_results or not len(going_on):
            return not len(going_on)
        bound = self._totals[going_on].max() / self._max_tokens**self._strategy.length_penalty
        return bool(self.results[-1].score >= bound)

    def _keep(self, texts: NDArray[np.int64]) -> None:
        self._totals = self._totals[texts]
        self._tokens, self._log_probs = self._tokens[texts], self._log_probs[texts]


def best_continuations(
    log_probs: LogProbs,
    rows: NDArray[np.int64],
    totals: NDArray[np.float64],
    width: int,
    changes: Changes,
    scratch: Scratch,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The best sums of a total and a next log-probability: index among rows, token, sum.

    Best first, at most width of them; of equal ones the earlier row, then the lower id.
    """
    parents, tokens = np.empty(width, np.int64), np.empty(width, np.int64)
    sums = np.full(width, -np.inf)
    saved = saved_values(changes)
    found = _fill(log_probs, rows, totals, changes, scratch, saved, parents, tokens, sums)
    return parents[:found], tokens[:found], sums[:found]


@kernel
def _fill(
    log_probs: LogProbs,
    rows: NDArray[np.int64],
    totals: NDArray[np.float64],
    changes: Changes,
    scratch: Scratch,
    saved: NDArray[np.float64],
    parents: NDArray[np.int64],
    tokens: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> int:
    size = u64(log_probs.shape[1])
    last = sums.size - 1
    found = 0
    for i in range(rows.size):
        row = rows[i]
        change_row(log_probs, row, changes, saved)
        block_maxima(log_probs, row, scratch.maxima, scratch.lanes)
        for block in range(u64(scratch.maxima.size)):
            if not totals[i] + scratch.maxima[block] > sums[last]:
                continue
            for token in range(block * BLOCK, min((block + u64(1)) * BLOCK, size)):
                total = totals[i] + log_probs[row, token]
                if total > sums[last]:
                    slot = last
                    while slot > 0 and sums[slot - 1] < total:
                        sums[slot] = sums[slot - 1]
                        parents[slot], tokens[slot] = parents[slot - 1], tokens[slot - 1]
                        slot -= 1
                    sums[slot], parents[slot], tokens[slot] = total, i, token
                    found = min(found + 1, sums.size)
        restore_row(log_probs, row, changes, saved)
    return found
