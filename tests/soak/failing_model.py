"""A model that fails where a text says so, and calls to it beside those of others."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import torch
from grpc import StatusCode
from structlog.testing import capture_logs

from lmscore.client import AsyncClient, LmscoreError
from lmscore.models.language_model import BatchScores, ScoreBatch, Texts
from lmscore.server.repository import ServedModel
from tests.server.bigrams import BigramModel, characters
from tests.server.harness import running, settings_for
from tests.soak.expected import DEMO_MODELS
from tests.soak.report import Tally

TIMEOUT_SECONDS = 100.0

MARKS: dict[str, tuple[type[Exception], StatusCode]] = {
    "#": (ZeroDivisionError, StatusCode.INTERNAL),
    "%": (MemoryError, StatusCode.RESOURCE_EXHAUSTED),
    "&": (torch.OutOfMemoryError, StatusCode.RESOURCE_EXHAUSTED),
}
"""What a text with the mark raises, and what its caller is told."""

FAULT_NAMES = {"#": "handler raised", "%": "out of memory", "&": "out of device memory"}


class FailingModel(BigramModel):
    """Characters, with texts that cannot be scored."""

    def __init__(self) -> None:
        model = characters()
        super().__init__(model.tokenizer, np.exp(model.log_probs))

    def score(self, batch: ScoreBatch) -> BatchScores:
        data = batch.items.data.tobytes() if isinstance(batch.items, Texts) else b""
        for mark, (error, _) in MARKS.items():
            if mark.encode() in data:
                raise error("raised by a text")
        return super().score(batch)


@asynccontextmanager
async def failing_server(tally: Tally) -> AsyncIterator[str]:
    """A server in this process, with the model under the name m; its log tells of every bug."""
    settings = settings_for(DEMO_MODELS["ngram"])
    with capture_logs() as log:
        async with running(settings, load=False) as connection:
            connection.server.repository.add(ServedModel("m", 1, "ab" * 32, FailingModel()))
            yield connection.server.address
    bugs = sum(line["event"] == "internal error" for line in log)
    if bugs != tally.codes["INTERNAL"]:
        tally.problem(f"{tally.codes['INTERNAL']} calls were told of a bug, and the log of {bugs}")


async def run_failures(
    address: str, tally: Tally, *, tasks: int, seconds: float, seed: int, share: float = 0.2
) -> None:
    """Calls of which a share has texts that fail; only those may fail, as each of them must."""
    end = time.monotonic() + seconds
    model = characters()

    async def caller(client: AsyncClient, number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        first = True
        while first or time.monotonic() < end:
            first = False
            text = "".join(chance.choices("ab ü", k=chance.randint(1, 30)))
            mark = chance.choice(list(MARKS)) if chance.random() < share else ""
            await _ask(client, model, text, mark, tally)

    async with AsyncClient(address, model="m", timeout=TIMEOUT_SECONDS) as client:
        await asyncio.gather(*(caller(client, number) for number in range(tasks)))
    tally.check_settled()


async def _ask(client: AsyncClient, model: BigramModel, text: str, mark: str, tally: Tally) -> None:
    [expected] = model.score(ScoreBatch(Texts.from_strings([text]))).log_probs
    tally.sent["Score"] += 1
    if mark:
        tally.faults[FAULT_NAMES[mark]] += 1
    began = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS + 5):
            [score] = await client.score([text + mark])
    except LmscoreError as error:
        meant = bool(mark) and error.code is MARKS[mark][1]
        retry = error.code is not StatusCode.RESOURCE_EXHAUSTED or error.retry_after_seconds
        tally.failed("Score", error.code.name, "" if meant and retry else str(error))
    except TimeoutError:
        tally.lose("Score")
    else:
        # Sums of batches differ in their last bits.
        right = not mark and abs(score.log_prob - expected) < 1e-9
        problem = "" if right else f"{score.log_prob} in place of {expected}, {mark or 'no mark'}"
        tally.answered("Score", time.monotonic() - began, problem)
