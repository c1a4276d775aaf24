"""Work that waits for its turn."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from lmscore.models.distribution import Distributions, predict
from lmscore.models.interruption import WorkInterruptedError
from lmscore.models.language_model import BatchScores, LanguageModel, ScoreBatch, Texts
from lmscore.server.call import Call
from lmscore.server.errors import DeadlinePassedError
from lmscore.server.memory import within_memory
from lmscore.server.scheduling.load import Load
from lmscore.server.scheduling.merging import (
    MergeKey,
    PredictKey,
    chained,
    joined,
    merge_key,
    split,
    split_distributions,
)


class Entry:
    """Some work of a call, which knows what it takes and who waits for it."""

    key: MergeKey | PredictKey | None = None  # of what can be done together with others

    def __init__(
        self, call: Call, work: Callable[[], Any], load: Load, cost: float | None = None
    ) -> None:
        self.call, self.load, self.work = call, load, work
        self.cost = load.cost if cost is None else cost
        self.counted = True  # among what is bounded
        self.measured = True  # its time tells how fast work is done
        self.future: Future[Any] = Future()
        self.left = False  # its caller has gone
        self.queued_at = self.started_at = time.monotonic()
        self.compute_seconds, self.companions = 0.0, 1  # requests computed with it, and it
        self._value: Any = None
        self._error: BaseException | None = None

    @property
    def late(self) -> bool:
        """Whether its deadline has passed."""
        return time.monotonic() > self.call.deadline

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.left or self.late

    @property
    def succeeded(self) -> bool:
        """Whether there is a result."""
        return self._error is None

    @property
    def tokens(self) -> int:
        """Tokens computed, once they are known."""
        if isinstance(self._value, BatchScores):
            return int(self._value.token_counts.sum())
        return self.load.tokens

    def begin(self) -> bool:
        """Whether it is still wanted, and runs from now on."""
        self.started_at = time.monotonic()
        if self.late:
            self._error = DeadlinePassedError()
        return self.future.set_running_or_notify_cancel()

    def expired(self) -> bool:
        """Whether it has ended before it was begun."""
        return self._error is not None

    def compute(self) -> None:
        """Do it, and keep how that ended."""
        try:
            self._value = within_memory(self.work)
        except WorkInterruptedError as error:
            self._error = DeadlinePassedError() if self.late else error
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            self._error = error

    def computed(self, value: Any) -> None:
        """Take a result that came about together with others."""
        self._value = value

    def tell(self) -> None:
        """Let who waits for it know how it ended."""
        if self._error is not None:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(self._value)


class JointEntry(Entry, ABC):
    """Work that is done faster together with others of the same key."""

    @classmethod
    @abstractmethod
    def results(cls, entries: Sequence[Any]) -> list[Any]:
        """What entries of this class and of one key give, done as one."""


def compute_together(entries: Sequence[JointEntry]) -> None:
    """Do entries of one key as one, or one by one if that fails: a failure is of one alone."""
    try:
        values = within_memory(entries[0].results, entries)
    except Exception:  # noqa: BLE001 - whichever it is about is told so when it is done alone
        for entry in entries:
            entry.compute()
    else:
        for entry, value in zip(entries, values, strict=True):
            entry.computed(value)


class ScoreEntry(JointEntry):
    """A batch to score, perhaps together with others of the same key."""

    def __init__(
        self, call: Call, model: LanguageModel[Any], batch: ScoreBatch, load: Load
    ) -> None:
        super().__init__(call, lambda: model.score(batch), load)
        self.model, self.batch = model, batch
        self.key = merge_key(model, batch)

    @classmethod
    def results(cls, entries: Sequence[ScoreEntry]) -> list[BatchScores]:
        """The scores of several, computed as one batch."""
        scores = entries[0].model.score(joined([entry.batch for entry in entries]))
        return split(scores, [len(entry.batch.items) for entry in entries])


class PredictEntry(JointEntry):
    """Prompts to tell the next token of, perhaps together with others of the same key."""

    def __init__(
        self,
        call: Call,
        model: LanguageModel[Any],
        prompts: Texts,
        k: int,
        load: Load,
        *,
        bos: bool,
    ) -> None:
        super().__init__(call, lambda: predict(model, prompts, k, bos=bos), load)
        self.model, self.prompts, self.k, self.bos = model, prompts, k, bos
        self.key = PredictKey(id(model), bos)

    @classmethod
    def results(cls, entries: Sequence[PredictEntry]) -> list[Distributions]:
        """The distributions of several, computed as one batch."""
        first, most = entries[0], max(entry.k for entry in entries)
        prompts = chained([entry.prompts for entry in entries])
        distributions = predict(first.model, prompts, most, bos=first.bos)
        sizes = [(len(entry.prompts), entry.k) for entry in entries]
        return split_distributions(distributions, sizes)
