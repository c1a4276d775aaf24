"""Prompts of several calls, which a network reads as one batch."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmscore.models.distribution import Distributions, predict
from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.server.call import Call
from lmscore.server.scheduling.entry import PredictEntry
from lmscore.server.scheduling.load import Load
from lmscore.server.scheduling.scheduler import Scheduler
from lmscore.server.scheduling.workers import Batching
from tests.server.bigrams import KINDS
from tests.server.held_model import HeldModel


class Reader(HeldModel):
    """Notes how many prompts it read at once; cannot read "x"."""

    def __init__(self) -> None:
        super().__init__()
        self.read_at_once: list[int] = []

    def read(self, texts: Texts, *, bos: bool = True) -> NDArray[np.int64]:
        self.read_at_once.append(len(texts))
        if b"x" in texts.data.tobytes():
            raise ZeroDivisionError
        return super().read(texts, bos=bos)


async def answers(prompts: list[Texts], **settings: Any) -> tuple[Reader, list[Any]]:
    """What a network says of calls that came while it was at work, each with its k."""
    scheduler, model = Scheduler(1, batching=Batching(**settings)), Reader()
    first = ScoreBatch(Texts.from_strings(["first"]))
    working = asyncio.ensure_future(scheduler.score(model, first))
    await asyncio.to_thread(model.started.wait, 30)
    calls = [
        asyncio.ensure_future(scheduler.predict(model, each, k, bos=k != 4))
        for k, each in enumerate(prompts, start=1)
    ]
    for _ in range(3):  # until all have reached the queue
        await asyncio.sleep(0)
    model.go.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    await working
    await asyncio.to_thread(scheduler.close)
    return model, results


def assert_same(found: Distributions, expected: Distributions) -> None:
    for ours, alone in zip(found.arrays(), expected.arrays(), strict=True):
        assert ours.shape == alone.shape
        assert ours.tolist() == alone.tolist()


async def test_prompts_that_wait_are_read_as_one_batch_and_told_apart_again() -> None:
    prompts = [Texts.from_strings(each) for each in (["a"], ["b", "a b"], [""], ["a"])]
    model, results = await answers(prompts)

    assert model.read_at_once == [4, 1]  # the last has no <s>
    for k, (each, result) in enumerate(zip(prompts, results, strict=True), start=1):
        assert_same(result, predict(model, each, k, bos=k != 4))


async def test_prompts_that_cannot_be_read_harm_no_others() -> None:
    model, (a, x, b) = await answers([Texts.from_strings([each]) for each in "axb"])

    assert isinstance(x, ZeroDivisionError)
    assert_same(a, predict(model, Texts.from_strings(["a"]), 1))
    assert_same(b, predict(model, Texts.from_strings(["b"]), 3))


async def test_no_more_is_read_at_once_than_the_limit_of_requests() -> None:
    prompts = [Texts.from_strings(["a"])] * 3
    model, _ = await answers(prompts, max_requests=2)
    assert model.read_at_once == [2, 1]


some_prompts = st.lists(st.text("ab ü", max_size=5), max_size=4)


@given(
    st.lists(st.tuples(some_prompts, st.integers(1, 40)), min_size=1, max_size=5),
    st.sampled_from(sorted(KINDS)),
    st.booleans(),
)
def test_predictions_made_together_are_those_of_each_call(
    given: list[tuple[list[str], int]], kind: str, bos: bool
) -> None:
    model = KINDS[kind]()
    entries = [
        PredictEntry(
            Call("Predict", "someone"), model, Texts.from_strings(prompts), k, Load(1), bos=bos
        )
        for prompts, k in given
    ]
    together = PredictEntry.results(entries)

    assert all(a.key == b.key for a, b in itertools.pairwise(entries))
    for (prompts, k), found in zip(given, together, strict=True):
        assert_same(found, predict(model, Texts.from_strings(prompts), k, bos=bos))
