"""The stepper: texts of many callers grow by one token a step, and join and leave at any step.

What a text becomes depends on its own state, settings and random numbers alone, never on what else
is in the batch. Objects are not for several threads at once; a step releases the GIL where it
computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from lmscore.models.decoding.alternatives import Alternatives
from lmscore.models.decoding.beam import BeamSearch, Hypothesis
from lmscore.models.decoding.parameters import Beam, Decoding, Sampling
from lmscore.models.decoding.random_numbers import uniforms
from lmscore.models.decoding.rows import FinishReason, NewSequence, Rows
from lmscore.models.decoding.selection import NO_TOKEN, Changes, select_tokens
from lmscore.models.decoding.weights import LogProbs, Scratch
from lmscore.models.language_model import LanguageModel, State


@dataclass(frozen=True, slots=True)
class StepResult:
    """One more token of every sequence that no beam search looks for, and the beams that ended.

    Of a sequence that came to a dead end, the token is -1 and its log-probability -inf.
    """

    sequence_ids: NDArray[np.int64]  # (sequences,)
    token_ids: NDArray[np.int64]  # (sequences,)
    log_probs: NDArray[np.float64]  # (sequences,) the model's own, in nats
    reasons: NDArray[np.uint8]  # (sequences,) FinishReason
    alternatives: Alternatives | None = None  # (sequences, most wanted), if any are wanted
    beams: dict[int, list[Hypothesis]] = field(default_factory=dict)
    """By sequence id, the results of the beam searches that have ended, best first."""


_NO_IDS = np.empty(0, np.int64)
_NO_LOG_PROBS = np.empty((0, 0))
_NOTHING = StepResult(_NO_IDS, _NO_IDS, np.empty(0), np.empty(0, np.uint8))


@dataclass(frozen=True, slots=True)
class Suspended(Generic[State]):
    """Sequences that were taken out of a batch, with all they need to go on."""

    states: State
    rows: Rows
    beams: dict[int, BeamSearch]


class DecodingBatch(Generic[State]):
    """Sequences that advance together; a beam search holds up to its width of rows."""

    def __init__(self, model: LanguageModel[State]) -> None:
        self._model = model
        self._scratch = Scratch.of(len(model.vocabulary))
        self._states: State = model.initial_state(0)
        self._rows = Rows.of([], _NO_IDS, model.vocabulary)
        self._beams: dict[int, BeamSearch] = {}
        self._next_id = 0

    def __len__(self) -> int:
        """Rows that the next step computes."""
        return len(self._rows)

    @property
    def sequence_ids(self) -> list[int]:
        """Sequences that the next step goes on with, each once."""
        ids: list[int] = np.unique(self._rows.sequence_ids).tolist()
        return ids

    def add(self, states: State, sequences: Sequence[NewSequence]) -> NDArray[np.int64]:
        """Let sequences join, each from the state after its prompt; returns their ids.

        Raises ParameterError for a token id that is not in the vocabulary; then none has joined.
        """
        ids = np.arange(self._next_id, self._next_id + len(sequences))
        rows = Rows.of(sequences, ids, self._model.vocabulary)
        states = self._model.concatenate((self._states, states))
        self._states, self._rows = states, self._rows.joined(rows)  # both, or an error and neither
        self._next_id += len(sequences)
        for sequence_id, new in zip(ids.tolist(), sequences, strict=True):
            strategy = new.settings.strategy
            if isinstance(strategy, Beam):
                self._beams[sequence_id] = BeamSearch(strategy, new.settings, new.ends_text)
        return ids

    def remove(self, sequence_ids: Sequence[int]) -> None:
        """Let sequences leave; those that have ended are not there any more, and are ignored."""
        stays = ~np.isin(self._rows.sequence_ids, np.asarray(sequence_ids, np.int64))
        for sequence_id in sequence_ids:
            self._beams.pop(int(sequence_id), None)
        self._keep(np.flatnonzero(stays))

    def suspend(self, sequence_ids: Sequence[int]) -> Suspended[State]:
        """Take sequences out, to let them join again later as they are now."""
        leaving = np.isin(self._rows.sequence_ids, np.asarray(sequence_ids, np.int64))
        rows = np.flatnonzero(leaving)
        taken = [i for i in map(int, sequence_ids) if i in self._beams]
        suspended = Suspended(
            self._model.gather(self._states, rows),
            self._rows.take(rows),
            {i: self._beams.pop(i) for i in taken},
        )
        self._keep(np.flatnonzero(~leaving))
        return suspended

    def resume(self, suspended: Suspended[State]) -> None:
        """Let sequences that were taken out join again, under their ids."""
        self._states = self._model.concatenate((self._states, suspended.states))
        self._rows = self._rows.joined(suspended.rows)
        self._beams |= suspended.beams

    def step(self) -> StepResult:
        """Give every sequence one more token; those that end with it leave.

        If the model raises, every sequence is as it was.
        """
        rows = self._rows
        if not len(rows):
            return _NOTHING
        numbers = uniforms(rows.seeds, rows.indices, rows.steps)
        plain = np.flatnonzero(~rows.in_beam)
        drawn = self._drawn(plain) if self._model.draws else _NO_IDS
        log_probs = self._next_log_probs(drawn)
        changes = rows.changes()
        alternatives = Alternatives.of(log_probs, plain, rows.alternatives[plain], self._scratch)
        tokens, chosen = self._choose(log_probs, plain, drawn, changes, numbers)
        reasons = rows.reasons(plain, tokens, self._model.vocabulary.eos_id)
        going_on = reasons == FinishReason.RUNNING
        beams = {sequence_id: beam.copy() for sequence_id, beam in self._beams.items()}
        beam_rows, beam_tokens, ended = self._step_beams(beams, log_probs, changes)
        self._advance(
            np.concatenate((plain[going_on], *beam_rows)),
            np.concatenate((tokens[going_on], *beam_tokens)),
        )
        self._beams = beams
        ids = rows.sequence_ids[plain]
        return StepResult(ids, tokens, chosen, reasons, alternatives, ended)

    def _drawn(self, plain: NDArray[np.int64]) -> NDArray[np.int64]:
        drawn: NDArray[np.int64] = plain[~np.isnan(self._rows.draw_temperatures[plain])]
        return drawn

    def _next_log_probs(self, drawn: NDArray[np.int64]) -> LogProbs:
        """An array that selection may change and put back: (rows, vocabulary).

        Nothing is in the rows whose tokens the model draws without it.
        """
        if not len(drawn):
            log_probs: LogProbs = self._model.next_log_probs(self._states)
            dtype = np.float32 if log_probs.dtype == np.float32 else np.float64
            return np.require(log_probs, dtype, ["C", "W"])
        if len(drawn) == len(self):
            return _NO_LOG_PROBS
        rest = np.delete(np.arange(len(self)), drawn)
        whole = np.empty((len(self), len(self._model.vocabulary)))
        whole[rest] = self._model.next_log_probs(self._model.gather(self._states, rest))
        return whole

    def _choose(
        self,
        log_probs: LogProbs,
        plain: NDArray[np.int64],
        drawn: NDArray[np.int64],
        changes: Changes,
        numbers: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The tokens of the plain rows and their log-probabilities."""
        filters = self._rows.filters
        if not len(drawn):
            return select_tokens(log_probs, plain, filters, changes, numbers, self._scratch)
        found = self._draw(drawn, changes, numbers)
        if len(drawn) == len(plain):
            return found
        others = np.setdiff1d(plain, drawn, assume_unique=True)
        selected = select_tokens(log_probs, others, filters, changes, numbers, self._scratch)
        tokens, chosen = np.empty(len(plain), np.int64), np.empty(len(plain))
        for rows, values in ((others, selected), (drawn, found)):
            at = np.searchsorted(plain, rows)
            tokens[at], chosen[at] = values
        return tokens, chosen

    def _draw(
        self, rows: NDArray[np.int64], changes: Changes, numbers: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The tokens of some rows as the model draws them, and their log-probabilities."""
        states = self._states if len(rows) == len(self) else self._model.gather(self._states, rows)
        excluded = changes.banned.ids[rows]
        if changes.ends_banned.any():
            ends = np.where(changes.ends_banned[rows, None], changes.ends.ids[rows], NO_TOKEN)
            excluded = np.concatenate((excluded, ends), axis=1)
        temperatures = self._rows.draw_temperatures[rows]
        return self._model.draw(states, temperatures, excluded, numbers[rows])

    def _step_beams(
        self, beams: dict[int, BeamSearch], log_probs: LogProbs, changes: Changes
    ) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]], dict[int, list[Hypothesis]]]:
        """Per beam search, the rows to go on from and their tokens; and results of those over."""
        rows, tokens, ended = [], [], {}
        for sequence_id, beam in list(beams.items()):
            at = np.flatnonzero(self._rows.sequence_ids == sequence_id)
            eos = self._model.vocabulary.eos_id
            parents, chosen = beam.step(log_probs, at, self._rows, changes, self._scratch, eos)
            rows.append(parents)
            tokens.append(chosen)
            if not len(parents):
                ended[sequence_id] = beams.pop(sequence_id).results
        return rows, tokens, ended

    def _advance(self, parents: NDArray[np.int64], tokens: NDArray[np.int64]) -> None:
        states, rows = self._kept(parents)
        if len(parents):
            states, rows = self._model.advance(states, tokens), rows.after(tokens)
        self._states, self._rows = states, rows

    def _keep(self, rows: NDArray[np.int64]) -> None:
        """Go on from some rows, which may repeat."""
        self._states, self._rows = self._kept(rows)

    def _kept(self, rows: NDArray[np.int64]) -> tuple[State, Rows]:
        if len(rows) == len(self._rows) and (rows[1:] > rows[:-1]).all():  # all, in order
            return self._states, self._rows
        return self._model.gather(self._states, rows), self._rows.take(rows)


def warm_up(model: LanguageModel[State]) -> None:
    """Compile all that decoding from a model needs; takes seconds once on a machine."""
    batch = DecodingBatch(model)
    filtered = Decoding(Sampling(), repetition_penalty=1.1, alternatives=1)
    # The last two are what models draw that can do so without a whole distribution.
    settings = [filtered, Decoding(Beam(2)), Decoding(Sampling()), Decoding()]
    batch.add(model.initial_state(len(settings)), [NewSequence(each) for each in settings])
    for _ in range(2):
        batch.step()
