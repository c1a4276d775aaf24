"""How work is ordered, merged and bounded, and what happens when memory runs out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.interruption import WorkInterruptedError, check_wanted, interruptible
from lmscore.models.language_model import BatchScores, ScoreBatch, Texts, TokenSequences
from lmscore.models.loading import load_model
from lmscore.server.errors import OutOfMemoryError
from lmscore.server.memory import is_out_of_memory, within_memory
from lmscore.server.repository import ServedModel
from lmscore.server.scheduling.merging import joined, merge_key, split
from lmscore.server.scheduling.scheduler import Scheduler
from lmscore.server.scheduling.workers import Batching
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.models.network.networks import checkpoint_of, config_of, model_of
from tests.server.bigrams import KINDS, BigramModel, characters
from tests.server.harness import Connection, failure_of, running, settings_for

SLOW = ModelSelector(name="slow")


class HeldModel(BigramModel):
    """A model that scores only when it is let go, and notes what it scored at once."""

    def __init__(self) -> None:
        model = characters()
        super().__init__(model.tokenizer, np.exp(model.log_probs))
        self.started, self.go = threading.Event(), threading.Event()
        self.scored: list[list[str]] = []
        self.failures: list[Exception] = []  # of the next calls, one each
        self.poison = ""  # a text that fails
        self.most_texts = 1000  # that memory is enough for

    def score(self, batch: ScoreBatch) -> BatchScores:
        if not isinstance(batch.items, Texts):
            self.scored.append(["ids"])
            return super().score(batch)
        data, ends = batch.items.data.tobytes(), batch.items.offsets.tolist()
        texts = [data[b:e].decode() for b, e in pairwise(ends)]
        self.scored.append(texts)
        self.started.set()
        assert self.go.wait(timeout=60)
        if self.failures:
            raise self.failures.pop(0)
        if len(texts) > self.most_texts:
            raise MemoryError
        if self.poison in texts and self.poison:
            raise ZeroDivisionError(self.poison)
        return super().score(batch)


@asynccontextmanager
async def serving(**models: Any) -> AsyncIterator[Connection]:
    settings = settings_for(Path("none"), threads=1)
    async with running(settings, load=False) as connection:
        for name, model in models.items():
            connection.server.repository.add(ServedModel(name, 1, "ab" * 32, model))
        try:
            yield connection
        finally:
            for model in models.values():
                if isinstance(model, HeldModel):
                    model.go.set()


def texts(*strings: str, **fields: Any) -> ScoreBatch:
    return ScoreBatch(Texts.from_strings(list(strings)), **fields)


async def begun(*work: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Calls that have reached their queue, in this order."""
    tasks = [asyncio.ensure_future(each) for each in work]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


@pytest.fixture
async def scheduler() -> AsyncIterator[Scheduler]:
    created = Scheduler(2, batching=Batching(max_tokens=250))
    yield created
    await asyncio.to_thread(created.close)


@pytest.fixture
async def held(scheduler: Scheduler) -> AsyncIterator[tuple[HeldModel, asyncio.Task[BatchScores]]]:
    """A model that works on "first", and the scores that are awaited of it."""
    model = HeldModel()
    [first] = await begun(scheduler.score(model, texts("first")))
    await asyncio.to_thread(model.started.wait, 30)
    yield model, first
    model.go.set()


async def test_an_ngram_answers_while_a_network_works(tiny_arpa: Path) -> None:
    slow, ngram = HeldModel(), load_model(tiny_arpa)
    async with serving(slow=slow, tiny=ngram) as connection:
        held = connection.stub.Score(wire.ScoreRequest(model=SLOW, texts=["a"]))
        await asyncio.to_thread(slow.started.wait, 30)
        tiny = ModelSelector(name="tiny")
        large = wire.ScoreRequest(model=tiny, texts=["a b " * 10_000])  # not scored at once
        assert (await connection.stub.Score(large, timeout=100)).scores
        predict = wire.PredictRequest(model=tiny, prompts=["a"])
        assert (await connection.stub.Predict(predict, timeout=100)).predictions
        tokenize = wire.TokenizeRequest(model=SLOW, texts=["a"])  # not the network's work
        assert (await connection.stub.Tokenize(tokenize, timeout=100)).texts
        slow.go.set()
        assert (await held).scores[0].token_count == 2


async def test_networks_work_one_after_the_other(scheduler: Scheduler) -> None:
    at_work = most = 0
    lock = threading.Lock()

    class Counting(HeldModel):
        def score(self, batch: ScoreBatch) -> BatchScores:
            nonlocal at_work, most
            with lock:
                at_work += 1
                most = max(most, at_work)
            result = super().score(batch)
            with lock:
                at_work -= 1
            return result

    one, two = Counting(), Counting()
    one.go.set()
    two.go.set()
    work = [
        scheduler.score(model, texts("a", bos=i % 3 > 0)) for i in range(20) for model in (one, two)
    ]
    await asyncio.gather(*work)

    assert most == 1


async def test_batches_that_wait_are_scored_as_one_and_told_apart_again(
    scheduler: Scheduler, held: tuple[HeldModel, asyncio.Task[BatchScores]]
) -> None:
    model, first = held
    work = [scheduler.score(model, texts(*strings)) for strings in (["a", "b a"], ["ü"], ["b"])]
    tasks = await begun(*work)
    model.go.set()
    answers = await asyncio.gather(first, *tasks)

    assert model.scored == [["first"], ["a", "b a", "ü", "b"]]
    for answer, strings in zip(answers, (["first"], ["a", "b a"], ["ü"], ["b"]), strict=True):
        expected = characters().score(texts(*strings))
        assert answer.log_probs.tolist() == expected.log_probs.tolist()
        assert answer.token_counts.tolist() == expected.token_counts.tolist()


async def test_only_batches_that_ask_for_the_same_are_merged(
    scheduler: Scheduler, held: tuple[HeldModel, asyncio.Task[BatchScores]]
) -> None:
    model, first = held
    other = HeldModel()
    other.go.set()
    batches = [
        texts("1"),
        texts("2", bos=False),
        texts("3", eos=False),
        texts("4", per_token=True),
        texts("5"),
        ScoreBatch(TokenSequences(np.array([1]), np.array([0, 1]))),
        texts("6", per_token=True),
    ]
    work = [scheduler.score(model, batch) for batch in batches]
    tasks = await begun(*work, scheduler.score(other, texts("9")))
    model.go.set()
    await asyncio.gather(first, *tasks)

    merged = [["1", "5"], ["2"], ["3"], ["4", "6"], ["ids"]]
    assert model.scored == [["first"], *merged]
    assert other.scored == [["9"]]


async def test_merged_batches_are_bounded(
    scheduler: Scheduler, held: tuple[HeldModel, asyncio.Task[BatchScores]]
) -> None:
    model, first = held
    long = "a" * 400  # taken for 100 tokens: two are within the 250 of the scheduler, three not
    tasks = await begun(*(scheduler.score(model, texts(long)) for _ in range(5)))
    huge = await begun(scheduler.score(model, texts("b" * 5000)))
    model.go.set()
    await asyncio.gather(first, *tasks, *huge)

    assert [len(each) for each in model.scored] == [1, 2, 2, 1, 1]


async def test_a_batch_that_fails_harms_no_other(
    scheduler: Scheduler, held: tuple[HeldModel, asyncio.Task[BatchScores]]
) -> None:
    model, first = held
    model.poison = "x"
    work = [scheduler.score(model, texts(each)) for each in ("a", "x", "b")]
    tasks = await begun(*work)
    model.go.set()
    a, x, b = await asyncio.gather(*tasks, return_exceptions=True)

    assert (await first).token_counts.tolist() == [6]
    assert isinstance(x, ZeroDivisionError)
    assert isinstance(a, BatchScores)
    assert isinstance(b, BatchScores)
    assert b.log_probs.tolist() == characters().score(texts("b")).log_probs.tolist()


async def test_what_nobody_waits_for_is_not_scored(
    scheduler: Scheduler, held: tuple[HeldModel, asyncio.Task[BatchScores]]
) -> None:
    model, first = held
    work = [scheduler.score(model, texts(each)) for each in ("a", "gone", "b")]
    tasks = await begun(*work)
    tasks[1].cancel()
    await asyncio.sleep(0)
    model.go.set()
    await asyncio.gather(first, tasks[0], tasks[2])

    assert model.scored == [["first"], ["a", "b"]]
    assert tasks[1].cancelled()


async def test_closing_drops_what_waits_and_finishes_what_runs() -> None:
    scheduler, model = Scheduler(1), HeldModel()
    [first] = await begun(scheduler.score(model, texts("first")))
    await asyncio.to_thread(model.started.wait, 30)
    [late] = await begun(scheduler.score(model, texts("late")))
    closing = asyncio.ensure_future(asyncio.to_thread(scheduler.close))
    await asyncio.sleep(0.1)
    assert not closing.done()
    model.go.set()
    await closing

    assert (await first).token_counts.tolist() == [6]
    with pytest.raises(asyncio.CancelledError):
        await late


some_text = st.text("ab ü", max_size=5)
some_texts = st.lists(some_text, max_size=4)
some_contexts = st.one_of(st.none(), some_text, st.just("one for each"))


@given(
    st.lists(st.tuples(some_texts, some_contexts), min_size=1, max_size=5),
    st.sampled_from(sorted(KINDS)),
    st.booleans(),
    st.booleans(),
)
def test_merged_scores_are_those_of_each_batch(
    given: list[tuple[list[str], str | None]], kind: str, per_token: bool, eos: bool
) -> None:
    model = KINDS[kind]()
    parts = []
    for strings, context in given:
        before = strings[::-1] if context == "one for each" else [context or ""]
        contexts = Texts.from_strings(before) if context is not None else None
        parts.append(texts(*strings, contexts=contexts, per_token=per_token, eos=eos))
    together = split(model.score(joined(parts)), [len(part.items) for part in parts])

    assert len({merge_key(model, part) for part in parts}) == 1
    for part, merged in zip(parts, together, strict=True):
        alone = model.score(part)
        assert merged.log_probs.tolist() == alone.log_probs.tolist()
        assert merged.oov_counts.tolist() == alone.oov_counts.tolist()
        assert (merged.tokens is None) == (alone.tokens is None)
        if merged.tokens is not None and alone.tokens is not None:
            assert merged.tokens.offsets.tolist() == alone.tokens.offsets.tolist()
            assert merged.tokens.token_ids.tolist() == alone.tokens.token_ids.tolist()
            assert np.array_equal(merged.tokens.end_bytes, alone.tokens.end_bytes)  # type: ignore[arg-type]


# --- memory ---


def torch_error() -> Exception:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def allocator_error() -> Exception:
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    )


FULL: list[Callable[[], Exception]] = [
    torch_error,
    allocator_error,
    MemoryError,
    lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
]


@pytest.mark.parametrize("error", FULL)
async def test_memory_that_runs_out_ends_one_request_and_not_the_server(
    error: Callable[[], Exception],
) -> None:
    model = HeldModel()
    model.go.set()
    async with serving(slow=model) as connection:
        model.failures = [error()]
        request = wire.ScoreRequest(model=SLOW, texts=["a"])
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await connection.stub.Score(request)
        assert (await connection.stub.Score(request)).scores[0].token_count == 2

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.reason == "OUT_OF_MEMORY"
    assert failed.retry_after_seconds == pytest.approx(1)


async def test_memory_that_runs_out_ends_one_answer_of_a_stream(tiny_arpa: Path) -> None:
    model = HeldModel()
    model.failures = [MemoryError()]
    model.go.set()
    request = wire.ScoreStreamRequest(score=wire.ScoreRequest(model=SLOW, texts=["a"]))
    async with serving(slow=model, tiny=load_model(tiny_arpa)) as connection:
        stream = connection.stub.ScoreStream()
        outcomes = []
        for _ in range(2):
            await stream.write(request)
            outcomes.append(await stream.read())
        await stream.done_writing()

    assert outcomes[0].error.reason == "OUT_OF_MEMORY"
    assert outcomes[1].score.scores[0].token_count == 2


async def test_a_merged_batch_that_is_too_large_is_scored_in_its_parts(
    scheduler: Scheduler, held: tuple[HeldModel, asyncio.Task[BatchScores]]
) -> None:
    model, first = held
    model.most_texts = 1
    tasks = await begun(*(scheduler.score(model, texts(each)) for each in "ab"))
    model.go.set()
    await first
    answers = await asyncio.gather(*tasks)

    assert model.scored == [["first"], ["a", "b"], ["a"], ["b"]]
    assert [each.token_counts.tolist() for each in answers] == [[2], [2]]


def test_what_an_error_held_is_gone_before_memory_is_asked_for_again() -> None:
    class Large:
        alive = 0

        def __init__(self) -> None:
            Large.alive += 1

        def __del__(self) -> None:
            Large.alive -= 1

    def work() -> None:
        held = Large()
        assert Large.alive
        raise MemoryError(held is not None)

    with pytest.raises(OutOfMemoryError) as raised:
        within_memory(work)

    assert Large.alive == 0
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: an illegal memory access"), ValueError("out of memory")]
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


@pytest.mark.timeout(300)
def test_who_serves_ngrams_alone_does_not_import_torch(tiny_arpa: Path) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.server.model_loading import load, placement_of
from lmscore.server.scheduling.scheduler import Scheduler
from lmscore.server.model_source import ModelSource
from lmscore.server.settings import Settings
model = load(ModelSource(name="m", path=Path({str(tiny_arpa)!r})), placement_of(Settings())).model
async def score():
    batch = ScoreBatch(Texts.from_strings(["a b " * 10_000]), per_token=True)
    await Scheduler(1).score(model, batch)
asyncio.run(score())
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=280
    )

    assert done.stdout.splitlines()[-1] == "False"


# --- work that nobody waits for any more ---


class PatientModel(BigramModel):
    """A model that works in small pieces until it is told that nobody wants it any more."""

    exclusive = True

    def __init__(self) -> None:
        model = characters()
        super().__init__(model.tokenizer, np.exp(model.log_probs))
        self.started, self.interrupted = threading.Event(), threading.Event()

    def score(self, batch: ScoreBatch) -> BatchScores:
        self.started.set()
        for _ in range(3_000):
            try:
                check_wanted()
            except WorkInterruptedError:
                self.interrupted.set()
                raise
            time.sleep(0.01)
        return super().score(batch)


async def test_what_runs_is_given_up_when_its_caller_leaves(scheduler: Scheduler) -> None:
    model = PatientModel()
    [task] = await begun(scheduler.score(model, texts("ab")))
    await asyncio.to_thread(model.started.wait, 30)

    task.cancel()

    assert await asyncio.to_thread(model.interrupted.wait, 25)
    other = characters()
    after = await scheduler.score(other, texts("ab"))
    assert after.log_probs.tolist() == other.score(texts("ab")).log_probs.tolist()


async def test_closing_does_not_wait_for_the_end_of_long_work() -> None:
    scheduler, model = Scheduler(1), PatientModel()
    [task] = await begun(scheduler.score(model, texts("ab")))
    await asyncio.to_thread(model.started.wait, 30)

    await asyncio.to_thread(scheduler.close)

    assert model.interrupted.is_set()
    with pytest.raises(WorkInterruptedError):
        await task


def test_a_network_gives_up_between_two_groups() -> None:
    model = model_of(checkpoint_of(config_of("lstm")), rows=4)
    asked: list[int] = []

    def unwanted() -> bool:
        asked.append(1)
        return len(asked) > 3

    with interruptible(unwanted), pytest.raises(WorkInterruptedError):
        model.score(ScoreBatch(Texts.from_strings(["w1 w2 w3 w4 w5 w6"] * 50)))

    assert len(asked) == 4
    assert model.score(ScoreBatch(Texts.from_strings(["w1"]))).token_counts.tolist() == [2]
