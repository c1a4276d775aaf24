"""Work that waits for its turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from lmscore.models.interruption import WorkInterruptedError
from lmscore.models.language_model import BatchScores, LanguageModel, ScoreBatch
from lmscore.server.call import Call
from lmscore.server.errors import DeadlinePassedError
from lmscore.server.memory import within_memory
from lmscore.server.scheduling.load import Load
from lmscore.server.scheduling.merging import MergeKey, merge_key


class Entry:
    """Some work of a call, which knows what it takes and who waits for it."""

    key: MergeKey | None = None  # of what can be done together with others

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


class ScoreEntry(Entry):
    """A batch to score, perhaps together with others of the same key."""

    def __init__(
        self, call: Call, model: LanguageModel[Any], batch: ScoreBatch, load: Load
    ) -> None:
        super().__init__(call, lambda: model.score(batch), load)
        self.model, self.batch = model, batch
        self.key = merge_key(model, batch)
