"""How long the caller of Generate waits for tokens."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from lmscore.models.decoding.parameters import Beam, Decoding
from lmscore.models.decoding.text_batch import Event, Finished, Token
from lmscore.server.call import Call
from lmscore.server.observer import Observer


class TokenTimes:
    """Watches the texts of one call, for as long as it is entered.

    Tokens of a text that are sent together have the same time each: what has passed since the last
    ones, shared among them.
    """

    def __init__(self, observer: Observer, call: Call, settings: Decoding) -> None:
        self._observer = observer
        self._call = call
        beam = settings.strategy if isinstance(settings.strategy, Beam) else None
        self._unfinished = beam.num_results if beam else settings.num_sequences
        self._last: dict[int, float] = {}  # when each text had its last token

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self._unfinished:
            self._observer.abandoned(self._call.model, self._unfinished)

    def see(self, events: Sequence[Event]) -> None:
        """Note what is about to be sent."""
        now = time.monotonic()
        tokens = Counter(event.place.sequence for event in events if isinstance(event, Token))
        if tokens and not self._last:
            self._observer.first_token(self._call.model, now - self._call.began)
        for sequence, count in tokens.items():
            last = self._last.get(sequence)
            if last is not None:
                self._observer.next_tokens(self._call.model, (now - last) / count, count)
            self._last[sequence] = now
        self._call.tokens += tokens.total()
        self._unfinished -= sum(isinstance(event, Finished) for event in events)
        self._observer.generated(self._call.model, events)
