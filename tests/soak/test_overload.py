"""More calls than a server can answer; what does not depend on how fast it is."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from lmscore.client import AsyncClient
from lmscore.models.language_model import BatchScores, ScoreBatch, Texts
from lmscore.server.repository import ServedModel
from tests.server.bigrams import BigramModel, characters
from tests.server.harness import running, settings_for
from tests.soak.overload import (
    ADMITTED,
    NO_RETRIES,
    WAITING,
    Work,
    ask,
    longest_wait_seconds,
    open_loop,
)
from tests.soak.report import Tally

CALLS = 5 * WAITING


class _HeldModel(BigramModel):
    """Scores nothing until it is let go."""

    def __init__(self, model: BigramModel) -> None:
        super().__init__(model.tokenizer, 2.0**model.log_probs)
        self.log_probs = model.log_probs
        self.go = threading.Event()

    def score(self, batch: ScoreBatch) -> BatchScores:
        assert self.go.wait(timeout=60)
        return super().score(batch)


async def test_as_many_as_may_wait_are_answered_and_the_others_told_when_to_come_back() -> None:
    texts = ["ab", "ba ü", ""]
    scores = characters().score(ScoreBatch(Texts.from_strings(texts)))
    work = Work("m", texts, scores.log_probs.tolist())
    model, tally, after = _HeldModel(characters()), Tally("overload"), Tally("after")
    settings = settings_for(Path("none"), max_queued_bytes=work.max_queued_bytes)
    async with running(settings, load=False) as connection:
        connection.server.repository.add(ServedModel("m", 1, "ab" * 32, model))
        address = connection.server.address
        async with AsyncClient(address, timeout=60, channel=NO_RETRIES) as client:
            calls = [asyncio.create_task(ask(client, work, tally)) for _ in range(CALLS)]
            refused = asyncio.as_completed(calls)
            for _ in range(CALLS - ADMITTED):
                await next(refused)
            model.go.set()
            await asyncio.gather(*calls)
            await open_loop(client, work, after, rate=200, seconds=0.5)

    assert tally.codes == {"OK": ADMITTED, "RESOURCE_EXHAUSTED": CALLS - ADMITTED}
    assert tally.problems == after.problems == []
    assert after.codes["OK"] > 0
    assert after.codes.total() == after.requests == 100


def test_the_wait_allowed_is_that_of_the_queue() -> None:
    assert longest_wait_seconds(capacity=9.0) == 2.25
