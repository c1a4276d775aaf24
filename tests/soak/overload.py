"""More calls than a server can answer: it goes on answering as many as it can, in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from grpc import StatusCode

from lmscore.client import AsyncClient, ChannelSettings, LmscoreError
from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.server.scheduling.merging import size_of
from tests.soak.expected import NETWORK_NATS
from tests.soak.report import Tally

WAITING = 8
"""Calls that may wait or run; the server refuses more."""

ADMITTED = WAITING * 3 // 4
"""Of one caller: it gets at most three times what it leaves to others."""

ROUNDS = 6  # of either kind, in the time given, if there are enough answers by then
LEAST_ANSWERS = 60
MOST = 4  # times the time given, to get so many

TIMES = 4  # what it can answer
LEAST_GOODPUT = 0.9  # of what it answers when as many wait as may
TIMEOUT_SECONDS = 60.0
NO_RETRIES = ChannelSettings(max_attempts=1)


@dataclass(frozen=True)
class Work:
    """One request, over and over."""

    model: str
    texts: Sequence[str]
    log_probs: Sequence[float]

    @property
    def queued_bytes(self) -> int:
        """What it counts for in the server's queue."""
        return size_of(ScoreBatch(Texts.from_strings(list(self.texts))))

    @property
    def max_queued_bytes(self) -> int:
        """The setting with which the server lets WAITING of them in."""
        return WAITING * self.queued_bytes


async def run_overload(address: str, work: Work, tally: Tally, *, seconds: float) -> None:
    """Measure what the server can do, and what it does when offered several times as much.

    Both in turn, so that what else the machine does slows both down, and until there are enough
    answers to tell them apart.
    """
    done, overloaded = Tally("capacity"), Tally("overloaded")
    done_seconds = overloaded_seconds = 0.0
    began, least = time.monotonic(), 0
    async with AsyncClient(address, timeout=TIMEOUT_SECONDS, channel=NO_RETRIES) as client:
        await closed_loop(client, work, Tally("warm"), seconds / 8)
        while time.monotonic() < began + (seconds if least > LEAST_ANSWERS else MOST * seconds):
            done_seconds += await closed_loop(client, work, done, seconds / ROUNDS)
            rate = TIMES * done.codes["OK"] / done_seconds
            overloaded_seconds += await open_loop(client, work, overloaded, rate, seconds / ROUNDS)
            least = min(done.codes["OK"], overloaded.codes["OK"])
    capacity = done.codes["OK"] / done_seconds
    goodput = overloaded.codes["OK"] / overloaded_seconds
    tally.figures |= {
        "capacity (answers/s)": capacity,
        "offered (calls/s)": overloaded.requests / overloaded_seconds,
        "goodput (answers/s)": goodput,
        "goodput (% of capacity)": 100 * goodput / capacity,
        "answers that it is measured with": least,
        "p99 when overloaded (ms)": overloaded.quantile_ms(0.99),
        "p99 allowed (ms)": 1e3 * longest_wait_seconds(capacity),
    }
    tally.seconds += done.seconds
    take_over(tally, done)
    take_over(tally, overloaded)


def longest_wait_seconds(capacity: float) -> float:
    """What an accepted call may take: all that may wait before it, twice, and a moment."""
    return 2 * (WAITING + 1) / capacity + 0.25


def check_overload(tally: Tally) -> None:
    """Note what was measured and is not good enough."""
    figures = tally.figures
    if figures["goodput (% of capacity)"] < 100 * LEAST_GOODPUT:
        tally.problem(f"goodput is {figures['goodput (% of capacity)']:.0f} % of the capacity")
    if figures["p99 when overloaded (ms)"] > figures["p99 allowed (ms)"]:
        tally.problem("accepted calls waited longer than the queue is long")
    if not tally.codes["RESOURCE_EXHAUSTED"]:
        tally.problem("nothing was refused")


async def closed_loop(client: AsyncClient, work: Work, tally: Tally, seconds: float) -> float:
    """Keep as many calls under way as the server lets in; gives the seconds that it took."""
    began = time.monotonic()

    async def caller() -> None:
        while time.monotonic() < began + seconds:
            await ask(client, work, tally)

    await asyncio.gather(*(caller() for _ in range(ADMITTED)))
    return time.monotonic() - began


async def open_loop(
    client: AsyncClient, work: Work, tally: Tally, rate: float, seconds: float
) -> float:
    """Begin so many calls a second whatever becomes of them; gives the seconds until all ended."""
    began = time.monotonic()
    calls: set[asyncio.Task[None]] = set()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(began + number / rate - time.monotonic())
        call = asyncio.create_task(ask(client, work, tally))
        calls.add(call)
        call.add_done_callback(calls.discard)
    await asyncio.gather(*calls)
    tally.check_settled()
    return time.monotonic() - began


async def ask(client: AsyncClient, work: Work, tally: Tally) -> None:
    """Make one call: it may be refused, but must say for how long."""
    tally.sent["Score"] += 1
    began = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS + 5):
            answer = await client.score(work.texts, model=work.model)
    except LmscoreError as error:
        refused = error.code is StatusCode.RESOURCE_EXHAUSTED and error.retry_after_seconds
        tally.failed("Score", error.code.name, "" if refused else str(error))
    except TimeoutError:
        tally.lose("Score")
    else:
        far = [
            abs(score.log_prob - log_prob)
            for score, log_prob in zip(answer, work.log_probs, strict=True)
        ]
        tally.answered("Score", time.monotonic() - began, _far(max(far)))


def _far(nats: float) -> str:
    return "" if nats <= NETWORK_NATS else f"a score is {nats} nats off"


def take_over(tally: Tally, other: Tally) -> None:
    """Add another part's calls to a tally; times stay those of calls that were let in at once."""
    tally.sent += other.sent
    tally.codes += other.codes
    tally.wrong += other.wrong
    tally.lost += other.lost
    tally.problems += other.problems
