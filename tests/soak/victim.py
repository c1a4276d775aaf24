"""A client that is in the middle of calls until it is killed: ``python -m tests.soak.victim``."""

from __future__ import annotations

import asyncio
import itertools
import sys

from lmscore.client import AsyncClient, Sampling

LIFE_SECONDS = 60.0


async def _generate(client: AsyncClient, model: str) -> None:
    sampling = Sampling(temperature=1.5)
    while True:
        settings = {"strategy": sampling, "num_sequences": 4, "max_tokens": 200, "min_tokens": 200}
        async for _ in client.generate("the", model=model, **settings):  # type: ignore[arg-type]
            pass


async def _stream(client: AsyncClient, model: str, busy: asyncio.Event) -> None:
    texts = itertools.repeat("the class of the object")
    async for _ in client.score_stream(texts, model=model, batch_texts=20):
        busy.set()


async def _main(address: str, model: str) -> None:
    busy = asyncio.Event()
    async with (
        asyncio.timeout(LIFE_SECONDS),
        AsyncClient(address) as client,
        asyncio.TaskGroup() as calls,
    ):
        calls.create_task(_generate(client, model))
        calls.create_task(_stream(client, model, busy))
        await busy.wait()
        print("busy", flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2]))
