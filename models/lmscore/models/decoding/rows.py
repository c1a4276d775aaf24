"""What the rows of a batch carry besides the model's states: settings and progress, in columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from operator import attrgetter
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import kernel
from lmscore.models.decoding.parameters import Beam, Decoding, Sampling, Strategy
from lmscore.models.decoding.selection import NO_TOKEN, Changes, Filters, IdLists
from lmscore.models.vocabulary import Vocabulary

Column = TypeVar("Column", NDArray[Any], Filters, IdLists)

_NO_IDS = np.empty(0, np.int64)

_LEAST_DRAWN = 0.25
"""At lower temperatures, what is left beside banned tokens may be lost in the rounding of sums."""


class FinishReason(IntEnum):
    """Why a text ended."""

    RUNNING = 0  # it has not
    STOP = 1  # a stop token or stop string
    LENGTH = 2  # max_tokens
    END_OF_TEXT = 3  # the model's ``</s>``
    DEAD_END = 4  # no token was possible: all that the model allows were banned


_RUNNING, _STOP, _LENGTH, _END_OF_TEXT, _DEAD_END = map(int, FinishReason)  # for compiled code


@dataclass(frozen=True, slots=True)
class NewSequence:
    """A text to be generated from a state; its random numbers are those of (seed, index)."""

    settings: Decoding
    seed: int = 0
    index: int = 0  # among the sequences of a request
    prompt_ids: NDArray[np.int64] = field(default_factory=lambda: _NO_IDS)  # to be penalized
    ends_text: Callable[[list[int]], bool] | None = None
    """For beams: whether a stop string is in the text of some tokens. Asked at every token."""


@dataclass(frozen=True, slots=True)
class Rows:
    """One element of every column is a row's."""

    sequence_ids: NDArray[np.int64]  # rows of one beam search share theirs
    in_beam: NDArray[np.bool_]
    seeds: NDArray[np.uint64]
    indices: NDArray[np.uint64]
    min_tokens: NDArray[np.int64]
    max_tokens: NDArray[np.int64]
    alternatives: NDArray[np.int64]
    penalties: NDArray[np.float64]
    filters: Filters
    draw_temperatures: NDArray[np.float64]
    """0 for the likeliest token. NaN: more is wanted than one token, drawn from all."""
    banned: IdLists
    ends: IdLists
    steps: NDArray[np.int64]  # tokens generated so far
    seen: IdLists  # of no width if no row has a penalty

    @classmethod
    def of(
        cls, sequences: Sequence[NewSequence], ids: NDArray[np.int64], vocabulary: Vocabulary
    ) -> Self:
        """The first rows of sequences; raises ParameterError for ids not in the vocabulary."""
        settings = [sequence.settings for sequence in sequences]
        for each in settings:
            each.check_token_ids(len(vocabulary))
        penalties = np.array([each.repetition_penalty for each in settings], np.float64)
        seen = _id_lists(
            [
                np.unique(sequence.prompt_ids) if penalty != 1.0 else _NO_IDS
                for sequence, penalty in zip(sequences, penalties, strict=True)
            ]
        )
        return cls(
            sequence_ids=ids,
            in_beam=np.array([isinstance(each.strategy, Beam) for each in settings], np.bool_),
            seeds=np.array([sequence.seed for sequence in sequences], np.uint64),
            indices=np.array([sequence.index for sequence in sequences], np.uint64),
            min_tokens=np.array([each.min_tokens for each in settings], np.int64),
            max_tokens=np.array([each.max_tokens for each in settings], np.int64),
            alternatives=np.array([each.alternatives for each in settings], np.int64),
            penalties=penalties,
            filters=_filters([each.strategy for each in settings]),
            draw_temperatures=np.array([_draw_temperature(each) for each in settings], np.float64),
            banned=_id_lists([_banned(each, vocabulary) for each in settings]),
            ends=_id_lists([_ends(each, vocabulary) for each in settings]),
            steps=np.zeros(len(ids), np.int64),
            seen=_widened(seen, 1) if (penalties != 1.0).any() and not seen.ids.size else seen,
        )

    def __len__(self) -> int:
        return len(self.sequence_ids)

    def take(self, indices: NDArray[np.int64]) -> Self:
        """The rows at some indices, which may repeat."""
        return type(self)(*(_take(getattr(self, each.name), indices) for each in fields(self)))

    def joined(self, others: Self) -> Self:
        """These rows, then others."""
        names = [each.name for each in fields(self)]
        return type(self)(*(_joined(getattr(self, name), getattr(others, name)) for name in names))

    def changes(self) -> Changes:
        """What is to be changed in the rows' log-probabilities now."""
        banned = self.steps < self.min_tokens
        return Changes(self.penalties, self.seen, self.banned, self.ends, banned)

    def reasons(
        self, rows: NDArray[np.int64], tokens: NDArray[np.int64], eos: int
    ) -> NDArray[np.uint8]:
        """Why the texts of some rows end with the tokens chosen, or RUNNING: (rows,)."""
        reasons = np.empty(len(rows), np.uint8)
        _find_reasons(self.steps, self.max_tokens, self.ends.ids, rows, tokens, eos, reasons)
        return reasons

    def after(self, tokens: NDArray[np.int64]) -> Self:
        """The rows with one more token each."""
        seen = self.seen
        if seen.ids.size:
            if int(seen.counts.max()) == seen.ids.shape[1]:
                seen = _widened(seen, max(16, 2 * seen.ids.shape[1]))
            _note(seen.ids, seen.counts, self.penalties, tokens)
        columns: Any = (*_SETTINGS(self), self.steps + 1, seen)
        return type(self)(*columns)


_SETTINGS = attrgetter(*(each.name for each in fields(Rows)[:-2]))  # all columns but the progress


def _filters(strategies: list[Strategy]) -> Filters:
    # Beams have no use for filters.
    sampling = [s if isinstance(s, Sampling) else Sampling(top_k=1) for s in strategies]
    return Filters(
        np.array([each.temperature for each in sampling], np.float64),
        np.array([each.top_k or 0 for each in sampling], np.int64),
        np.array([each.top_p for each in sampling], np.float64),
        np.array([each.min_p for each in sampling], np.float64),
    )


def _draw_temperature(settings: Decoding) -> float:
    strategy = settings.strategy
    if isinstance(strategy, Beam) or settings.alternatives or settings.repetition_penalty != 1.0:
        return np.nan
    if not isinstance(strategy, Sampling) or strategy.top_k == 1:
        return 0.0
    whole = not strategy.top_k and strategy.top_p == 1.0 and strategy.min_p == 0.0
    return strategy.temperature if whole and strategy.temperature >= _LEAST_DRAWN else np.nan


def _banned(settings: Decoding, vocabulary: Vocabulary) -> list[int]:
    """What the request bans, and what is no text: ``<s>``, and ``<unk>`` unless it is allowed."""
    banned = set(settings.banned_token_ids)
    no_text = (
        {vocabulary.bos_id} if settings.allow_unknown else {vocabulary.bos_id, vocabulary.unk_id}
    )
    return sorted(banned | {i for i in no_text if i >= 0 and i != vocabulary.eos_id})


def _ends(settings: Decoding, vocabulary: Vocabulary) -> list[int]:
    return [i for i in (vocabulary.eos_id, *settings.stop_token_ids) if i >= 0]


def _id_lists(lists: Sequence[Sequence[int] | NDArray[np.int64]]) -> IdLists:
    counts = np.array([len(each) for each in lists], np.int64)
    ids = np.full((len(lists), int(counts.max(initial=0))), NO_TOKEN, np.int64)
    for row, each in enumerate(lists):
        ids[row, : len(each)] = each
    return IdLists(ids, counts)


def _take(column: Column, indices: NDArray[np.int64]) -> Column:
    if isinstance(column, np.ndarray):
        return column[indices]
    parts: Any = [each[indices] for each in column]
    return type(column)(*parts)


def _joined(column: Column, other: Column) -> Column:
    if isinstance(column, np.ndarray):
        return np.concatenate((column, other))
    if isinstance(column, IdLists):
        width = max(column.ids.shape[1], other.ids.shape[1])
        column, other = _widened(column, width), _widened(other, width)
    parts: Any = map(np.concatenate, zip(column, other, strict=True))
    return type(column)(*parts)


def _widened(lists: IdLists, width: int) -> IdLists:
    missing = width - lists.ids.shape[1]
    ids = np.pad(lists.ids, ((0, 0), (0, missing)), constant_values=NO_TOKEN)
    return IdLists(ids, lists.counts.copy())


@kernel
def _find_reasons(
    steps: NDArray[np.int64],
    max_tokens: NDArray[np.int64],
    ends: NDArray[np.int64],  # (all rows, most)
    rows: NDArray[np.int64],
    tokens: NDArray[np.int64],
    eos: int,
    reasons: NDArray[np.uint8],  # filled in
) -> None:
    for i in range(rows.size):
        row, token = rows[i], tokens[i]
        reason = _LENGTH if steps[row] + 1 >= max_tokens[row] else _RUNNING
        for j in range(ends.shape[1]):
            reason = _STOP if ends[row, j] == token else reason
        if token == eos:
            reason = _END_OF_TEXT
        reasons[i] = _DEAD_END if token == NO_TOKEN else reason


@kernel
def _note(
    ids: NDArray[np.int64],
    counts: NDArray[np.int64],
    penalties: NDArray[np.float64],
    tokens: NDArray[np.int64],
) -> None:
    """Add each token to its row's list, where the row has a penalty and the list lacks it."""
    for row in range(tokens.size):
        count = counts[row]
        known = penalties[row] == 1.0
        for i in range(count):
            known |= ids[row, i] == tokens[row]
        if not known:
            ids[row, count] = tokens[row]
            counts[row] = count + 1
