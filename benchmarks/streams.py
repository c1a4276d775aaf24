"""A client of many Generate calls at once, as a process of its own.

python -m benchmarks.streams ADDRESS STREAMS SECONDS
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

TEMPERATURE = 1.0


@dataclass(frozen=True)
class Flow:
    """What streams gave in a round."""

    rate: float  # tokens a second
    first: tuple[float, float] = (0.0, 0.0)  # seconds to the first token, p50 and p99
    between: tuple[float, float] = (0.0, 0.0)  # seconds between two tokens, likewise


def over_grpc(address: str, count: int) -> Callable[[float], Flow]:
    """So many streams, read by a process of their own."""

    def run(seconds: float) -> Flow:
        command = [sys.executable, __file__, address, str(count), str(seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        figures = json.loads(done.stdout)
        return Flow(figures["rate"], tuple(figures["first"]), tuple(figures["between"]))

    return run


async def read_streams(address: str, count: int, seconds: float) -> dict[str, object]:
    """Tokens a second of so many calls, and how long tokens take."""
    import grpc

    from lmscore.v1 import language_model_service_pb2 as wire
    from lmscore.v1.common_pb2 import ModelSelector
    from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub

    first: list[float] = []
    gaps: list[float] = []
    tokens, begun = 0, asyncio.Event()
    request = wire.GenerateRequest(
        model=ModelSelector(name="m"),
        prompt="w1 w2 w3",
        sampling=wire.Sampling(temperature=TEMPERATURE),
        max_tokens=100_000,
        min_tokens=100_000,
    )

    async def read(stub: Any) -> None:
        nonlocal tokens
        started, last = time.perf_counter(), None
        async for message in stub.Generate(request):
            now = time.perf_counter()
            if message.tokens:
                if last is None:
                    first.append(now - started)
                    if len(first) == count:
                        begun.set()
                else:
                    gaps.append(now - last)
                last = now
                tokens += len(message.tokens)

    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = LanguageModelServiceStub(channel)
        tasks = [asyncio.create_task(read(stub)) for _ in range(count)]
        await asyncio.wait([asyncio.create_task(begun.wait()), *tasks], return_when=FIRST_COMPLETED)
        before, since = tokens, time.perf_counter()
        await asyncio.sleep(seconds)
        rate = (tokens - before) / (time.perf_counter() - since)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    both = (np.quantile(of, (0.5, 0.99)).tolist() for of in (first, gaps))
    return {"rate": rate, **dict(zip(("first", "between"), both, strict=True))}


if __name__ == "__main__":
    address, count, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(read_streams(address, int(count), float(seconds)))))
