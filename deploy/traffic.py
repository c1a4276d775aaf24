"""Calls of every kind at a steady rate, to have something to look at on a dashboard.

    python deploy/traffic.py --address 127.0.0.1:50051 --rate 20 --seconds 60

Goes on until it is stopped if no time is given. A few calls are wrong on purpose. At the end it
prints as JSON how many calls of each method ended with which code.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from lmscore.client import AsyncClient, Hypothesis, LmscoreError, NBestList, Sampling

COMMON = """
the of and to in a is that was he for it with as his on be at by had not they are but from or
have an which one you were her all she there would their we him been has when who will more
if out so said what up its about into than them can only other new some could time these two
may then do first any my now such like our over man me even most made after also did many
"""
WORDS = COMMON.split()
RARE = ("zyzzyva", "qwertyuiop", "lmscore", "blorptastic")
MAX_RUNNING = 200
"""Calls that have not ended; more are not begun, so that a slow server is not piled upon."""


@dataclass(frozen=True)
class Traffic:
    """What calls are made of."""

    client: AsyncClient
    models: tuple[str, ...]
    random: random.Random

    def model(self) -> str:
        """One of the server's models."""
        return self.random.choice(self.models)

    def text(self) -> str:
        """Some words, common ones more often, now and then one that no model knows."""
        count = 1 + min(40, int(self.random.expovariate(1 / 9)))
        words = [WORDS[int(len(WORDS) * self.random.random() ** 2)] for _ in range(count)]
        if self.random.random() < 0.1:
            words[self.random.randrange(count)] = self.random.choice(RARE)
        return " ".join(words)

    def texts(self) -> list[str]:
        """A batch of them."""
        return [self.text() for _ in range(1 + min(100, int(self.random.expovariate(1 / 12))))]

    async def score(self) -> None:
        """Score a batch."""
        await self.client.score(self.texts(), model=self.model())

    async def score_stream(self) -> None:
        """Score several batches over one stream."""
        texts = [text for _ in range(4) for text in self.texts()]
        async for _ in self.client.score_stream(texts, batch_texts=16, model=self.model()):
            pass

    async def rescore(self) -> None:
        """Rank some variants of a text."""
        words = self.text().split()
        variants = [[*words[:i], self.random.choice(WORDS), *words[i:]] for i in range(len(words))]
        hypotheses = [
            Hypothesis(" ".join(variant), {"score": -float(i)})
            for i, variant in enumerate(variants)
        ]
        await self.client.rescore([NBestList("traffic", hypotheses)], model=self.model())

    async def predict(self) -> None:
        """Ask what may come next."""
        await self.client.predict([self.text()], model=self.model())

    async def generate(self) -> None:
        """Have a text continued."""
        await self.client.generate_texts(
            self.text(),
            model=self.model(),
            max_tokens=1 + int(self.random.random() * 60),
            strategy=Sampling(temperature=0.8, top_k=40),
        )

    async def tokenize(self) -> None:
        """Split a batch."""
        await self.client.tokenize(self.texts(), model=self.model())

    async def mistake(self) -> None:
        """Ask for a model that is not there."""
        await self.client.score(["a text"], model="no-such-model")


KINDS: tuple[tuple[Callable[[Traffic], Awaitable[None]], str, int], ...] = (
    (Traffic.score, "Score", 40),
    (Traffic.score_stream, "ScoreStream", 8),
    (Traffic.rescore, "Rescore", 20),
    (Traffic.predict, "Predict", 10),
    (Traffic.generate, "Generate", 14),
    (Traffic.tokenize, "Tokenize", 7),
    (Traffic.mistake, "Score", 1),
)
"""What is called, under which method it is counted, and how often of a hundred times."""


async def run(address: str, rate: float, seconds: float, seed: int | None) -> Counter[str]:
    """Call at that rate for so long (0: until stopped); how calls ended, by "method code"."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    ended: Counter[str] = Counter()
    running: set[asyncio.Task[None]] = set()
    async with AsyncClient(address) as client:
        await client.wait_until_ready()
        names = {model.identity.name for model in await client.list_models()}
        traffic = Traffic(client, tuple(sorted(names)), random.Random(seed))  # noqa: S311 (no secrets)
        ends = time.monotonic() + seconds if seconds else float("inf")
        while time.monotonic() < ends and not stopped.is_set():
            if len(running) < MAX_RUNNING:
                task = asyncio.create_task(_call(traffic, ended))
                running.add(task)
                task.add_done_callback(running.discard)
            with suppress(TimeoutError):
                pause = traffic.random.expovariate(rate)
                await asyncio.wait_for(stopped.wait(), min(pause, ends - time.monotonic()))
        if running:
            await asyncio.wait(running)
    return ended


async def _call(traffic: Traffic, ended: Counter[str]) -> None:
    [(behaviour, method, _)] = traffic.random.choices(KINDS, [weight for _, _, weight in KINDS])
    try:
        await behaviour(traffic)
    except LmscoreError as error:
        ended[f"{method} {error.code.name}"] += 1
    else:
        ended[f"{method} OK"] += 1


def main() -> None:
    """Read the arguments, call, and tell how the calls ended."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--address", default="127.0.0.1:50051", metavar="HOST:PORT")
    parser.add_argument("--rate", type=float, default=20.0, metavar="CALLS", help="calls a second")
    parser.add_argument("--seconds", type=float, default=0.0, help="0: until stopped")
    parser.add_argument("--seed", type=int, help="the same calls again")
    given = parser.parse_args()
    ended = asyncio.run(run(given.address, given.rate, given.seconds, given.seed))
    print(json.dumps(dict(sorted(ended.items()))))


if __name__ == "__main__":
    main()
