"""How the threads' queues are bounded, what is dropped or refused, and what is told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from threading import Barrier, Event
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscore.models.language_model import BatchScores, ScoreBatch, Texts, TokenSequences
from lmscore.server.call import Call, Priority, calling
from lmscore.server.errors import (
    DeadlinePassedError,
    DeadlineTooShortError,
    OverloadedError,
    ServiceError,
)
from lmscore.server.observer import Observer
from lmscore.server.scheduling.entry import Entry
from lmscore.server.scheduling.load import Load, QueueLimits
from lmscore.server.scheduling.rates import Durations, Throughput, TokenEstimates
from lmscore.server.scheduling.scheduler import Scheduler, Turn
from lmscore.server.scheduling.workers import Batching, Workers
from lmscore.v1 import language_model_service_pb2 as wire
from tests.server.bigrams import characters
from tests.server.harness import failure_of
from tests.server.test_generation import until
from tests.server.test_scheduler import SLOW, HeldModel, begun, serving


def clock() -> float:
    """The time for deadlines, which may stand still."""
    return -Call("", "", deadline=0.0).remaining_seconds


BULK, URGENT = Priority.BULK, Priority.INTERACTIVE


class Notes(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int, int]] = []
        self.waits: list[float] = []
        self.depths: list[tuple[str, int, int]] = []
        self.waste: list[tuple[str, int]] = []
        self.refusals: list[str] = []

    def batch(self, model: str, requests: int, tokens: int, compute_seconds: float) -> None:
        assert compute_seconds >= 0
        self.batches.append((model, requests, tokens))

    def queued(self, model: str, seconds: float) -> None:  # noqa: ARG002
        self.waits.append(seconds)

    def depth(self, queue: str, requests: int, tokens: int) -> None:
        self.depths.append((queue, requests, tokens))

    def wasted(self, model: str, tokens: int) -> None:
        self.waste.append((model, tokens))

    def refused(self, reason: str) -> None:
        self.refusals.append(reason)


class Held:
    """Workers whose first work waits until it is let go, with the order of all that is done."""

    def __init__(self, workers: Workers) -> None:
        self.workers, self.order = workers, list[str]()
        self.go, self.started = Event(), Event()

    def entry(
        self,
        name: str,
        caller: str = "",
        priority: Priority = URGENT,
        *,
        seconds: float = 1e9,
        load: Load | None = None,
    ) -> Entry:
        call = Call("Score", caller, priority, clock() + seconds)
        return Entry(call, lambda: self.order.append(name), load or Load(1, 10, 100))

    def hold(self) -> Entry:
        def wait() -> None:
            self.started.set()
            assert self.go.wait(60)

        entry = Entry(Call("Score", "first"), wait, Load(1, 0, 0))
        entry.measured = False
        self.workers.submit(entry)
        assert self.started.wait(60)
        return entry


@asynccontextmanager
async def held_workers(limits: QueueLimits | None = None, **fields: Any) -> AsyncIterator[Held]:
    observer = fields.pop("observer", Observer())
    held = Held(Workers("ngram", 1, limits or QueueLimits(), observer, **fields))
    held.hold()
    try:
        yield held
    finally:
        held.go.set()
        await asyncio.to_thread(held.workers.close)


def measure(workers: Workers, cost: float, seconds: float, pieces: int = 10) -> None:
    for _ in range(pieces):
        workers._measure(cost, seconds)  # noqa: SLF001 - time that a test need not spend


async def done(*entries: Entry) -> list[Any]:
    futures = (asyncio.wrap_future(entry.future) for entry in entries)
    return await asyncio.gather(*futures, return_exceptions=True)


# --- whose turn it is ---


async def test_a_user_is_served_before_the_thousand_that_a_bulk_client_has_waiting() -> None:
    limits = QueueLimits(max_requests=2000)
    async with held_workers(limits) as held:
        flood = [held.entry("bulk", "flood", BULK) for _ in range(1000)]
        for entry in flood:
            held.workers.submit(entry)
        users = [held.entry(name, name) for name in ("anna", "ben")]
        for entry in users:
            held.workers.submit(entry)
        held.go.set()
        await done(*users, flood[-1])

    assert sorted(held.order[:2]) == ["anna", "ben"]
    assert len(held.order) == 1002


async def test_bulk_work_goes_on_while_users_come_all_the_time() -> None:
    async with held_workers() as held:
        entries = [held.entry("bulk", "flood", BULK) for _ in range(10)]
        entries += [held.entry("user", f"user {i % 5}") for i in range(100)]
        for entry in entries:
            held.workers.submit(entry)
        held.go.set()
        await done(*entries)

    assert [held.order.index("bulk"), held.order[:80].count("bulk")] == [7, 10]


# --- deadlines, and callers that leave ---


async def test_what_has_expired_in_the_queue_is_not_computed() -> None:
    async with held_workers() as held:
        late, early = held.entry("late"), held.entry("early")
        held.workers.submit(late)
        held.workers.submit(early)
        late.call.deadline = time.monotonic() - 1  # as if it had waited for so long
        held.go.set()
        outcome, _ = await done(late, early)

    assert isinstance(outcome, DeadlinePassedError)
    assert held.order == ["early"]


async def test_work_that_comes_after_its_deadline_never_waits() -> None:
    async with held_workers() as held:
        with pytest.raises(DeadlinePassedError):
            held.workers.submit(held.entry("late", seconds=-1))


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of deadlines stands still, however long a test takes."""
    now = time.monotonic()
    monkeypatch.setattr("lmscore.server.call.time", SimpleNamespace(monotonic=lambda: now))


@pytest.mark.usefixtures("stopped_clock")
async def test_what_cannot_be_done_in_time_is_refused_once_rates_are_measured() -> None:
    async with held_workers() as held:

        def ahead(seconds: float) -> Entry:
            load = Load(1, 984, 0)  # with what a request costs, 1000
            return held.entry("x", seconds=seconds, load=load)

        for _ in range(4):
            held.workers.submit(ahead(1e9))
        held.workers.submit(ahead(0.5))  # nothing is known of how fast it goes
        measure(held.workers, cost=1000, seconds=1.0)
        with pytest.raises(DeadlineTooShortError) as raised:
            held.workers.submit(ahead(2.0))
        held.workers.submit(ahead(10.0))
        tiny = Call("Score", "someone else", URGENT, clock() + 0.2)
        held.workers.submit(Entry(tiny, lambda: None, Load(1, 10, 0)))  # has its turn soon

    assert raised.value.needed_seconds == pytest.approx(6.0)
    assert raised.value.remaining_seconds == pytest.approx(2.0)
    assert raised.value.retry_after_seconds == pytest.approx(4.0)


async def test_an_idle_server_never_refuses_for_want_of_time() -> None:
    workers = Workers("ngram", 1, QueueLimits(), Observer())
    measure(workers, cost=1.0, seconds=10.0)
    call = Call("Score", "", URGENT, time.monotonic() + 5)

    assert await workers.result(Entry(call, lambda: "done", Load(1, 10**6, 0))) == "done"
    workers.close()


@pytest.mark.usefixtures("stopped_clock")
async def test_small_batches_do_not_tell_how_fast_a_network_does_large_ones() -> None:
    async with held_workers(batching=Batching(max_tokens=1000)) as held:
        measure(held.workers, cost=10, seconds=1.0)
        entries = [held.entry("x", seconds=2.0) for _ in range(20)]
        for entry in entries:
            held.workers.submit(entry)  # which would take 20 s at the rate of the small ones

        assert not any(entry.future.done() for entry in entries)


async def test_who_leaves_the_queue_makes_room_at_once() -> None:
    observer = Notes()
    async with held_workers(QueueLimits(max_requests=3), observer=observer) as held:
        [task] = await begun(held.workers.result(held.entry("gone", "a")))
        [other] = await begun(held.workers.result(held.entry("b", "b")))
        with pytest.raises(OverloadedError):
            held.workers.submit(held.entry("c", "c"))
        task.cancel()
        await asyncio.wait({task})
        await begun(held.workers.result(held.entry("c", "c")))
        held.go.set()
        await other

    assert "gone" not in held.order
    assert [requests for _, requests, _ in observer.depths[:5]] == [1, 2, 3, 2, 3]


# --- bounds ---


@pytest.mark.parametrize(
    ("limits", "unit", "queued"),
    [
        (QueueLimits(max_requests=3), "requests", 3),
        (QueueLimits(max_tokens=100), "tokens", 80),
        (QueueLimits(max_bytes=900), "bytes of text", 800),
    ],
)
async def test_a_queue_is_bounded_in_requests_tokens_and_bytes(
    limits: QueueLimits, unit: str, queued: int
) -> None:
    async with held_workers(limits) as held:
        for caller in "ab":
            held.workers.submit(held.entry("x", caller, load=Load(1, 40, 400)))
        with pytest.raises(OverloadedError) as raised:
            held.workers.submit(held.entry("x", "c", load=Load(1, 40, 400)))

    assert (raised.value.unit, raised.value.queued) == (unit, queued)
    assert raised.value.retry_after_seconds == pytest.approx(0.1)  # nothing is measured yet


@pytest.mark.parametrize("waiting", [10, 20, 40])
async def test_when_to_come_back_follows_what_has_to_be_done_before(waiting: int) -> None:
    cost = 100.0
    async with held_workers(QueueLimits(max_requests=waiting + 1)) as held:
        for caller in range(waiting):
            held.workers.submit(held.entry("x", str(caller), load=Load(1, 84, 0)))
        measure(held.workers, cost, seconds=0.5)  # 200 a second
        with pytest.raises(OverloadedError) as one:
            held.workers.submit(held.entry("x", "new", load=Load(1, 84, 0)))
        with pytest.raises(OverloadedError) as many:
            held.workers.submit(held.entry("x", "new", load=Load(waiting // 2, 84, 0)))

    every_seconds = waiting * cost / 200  # for all of it; a part of the requests has to go
    assert one.value.retry_after_seconds == pytest.approx(every_seconds / (waiting + 1), rel=0.1)
    assert many.value.retry_after_seconds == pytest.approx(every_seconds / 2, rel=0.15)


async def test_one_caller_and_bulk_work_leave_room_for_others() -> None:
    async with held_workers(QueueLimits(max_requests=401)) as held:

        def accepted(caller: str, priority: Priority) -> int:
            count = 0
            with suppress(OverloadedError):
                while True:
                    held.workers.submit(held.entry("x", caller, priority))
                    count += 1
            return count

        bulk = sum(accepted(f"bulk {i}", BULK) for i in range(10))
        greedy, fair = accepted("greedy", URGENT), accepted("fair", URGENT)

    assert bulk == pytest.approx(300, abs=5)
    assert greedy == pytest.approx(75, abs=5)
    assert fair > 15


async def test_what_is_larger_than_the_bound_gets_in_alone() -> None:
    scheduler = Scheduler(1, QueueLimits(1, 1, 1))
    model = characters()
    model.exclusive = True  # type: ignore[misc]
    scores = await scheduler.score(model, ScoreBatch(Texts.from_strings(["a" * 100] * 10)))

    assert len(scores.log_probs) == 10
    await asyncio.to_thread(scheduler.close)


# --- merging ---


def held_scheduler(**batching: Any) -> tuple[Scheduler, HeldModel, Notes]:
    observer = Notes()
    return Scheduler(1, batching=Batching(**batching), observer=observer), HeldModel(), observer


async def scored_together(scheduler: Scheduler, model: HeldModel, work: list[Any]) -> list[int]:
    """Texts in each batch after one that holds the thread up."""
    [first] = await begun(scheduler.score(model, ScoreBatch(Texts.from_strings(["first"]))))
    await asyncio.to_thread(model.started.wait, 30)
    tasks = await begun(*work)
    model.go.set()
    await asyncio.gather(first, *tasks)
    await asyncio.to_thread(scheduler.close)
    return [len(each) for each in model.scored[1:]]


@pytest.mark.parametrize(
    ("batching", "sizes"),
    [
        ({}, [7]),
        ({"max_requests": 3}, [3, 3, 1]),
        ({"max_tokens": 14}, [2, 2, 2, 1]),  # 20 bytes are taken for 5 tokens, and one ends a text
        ({"max_tokens": 1}, [1] * 7),
    ],
)
async def test_what_is_scored_as_one_is_bounded_in_requests_and_tokens(
    batching: dict[str, int], sizes: list[int]
) -> None:
    scheduler, model, _ = held_scheduler(**batching)
    batch = ScoreBatch(Texts.from_strings(["ab" * 10]))
    work = [scheduler.score(model, batch) for _ in range(7)]

    assert await scored_together(scheduler, model, work) == sizes


async def test_urgent_batches_are_not_held_up_by_bulk_batches_scored_with_them() -> None:
    scheduler, model, _ = held_scheduler()
    batch = ScoreBatch(Texts.from_strings(["ab"]))

    async def score(priority: Priority) -> BatchScores:
        with calling(Call("Score", "x", priority)):
            return await scheduler.score(model, batch)

    work = [score(BULK), score(BULK), score(BULK), score(URGENT), score(URGENT)]
    assert await scored_together(scheduler, model, work) == [2, 3]


async def test_a_free_network_waits_for_company_if_it_is_told_to() -> None:
    scheduler, model, _ = held_scheduler(max_requests=3, max_delay_seconds=1000.0)
    model.go.set()
    batch = ScoreBatch(Texts.from_strings(["ab"]))
    started = time.monotonic()
    tasks = await begun(scheduler.score(model, batch), scheduler.score(model, batch))
    done, _ = await asyncio.wait(tasks, timeout=0.05)
    assert not done
    tasks += await begun(scheduler.score(model, batch))
    await asyncio.gather(*tasks)

    assert [len(each) for each in model.scored] == [3]
    assert time.monotonic() - started < 500
    await asyncio.to_thread(scheduler.close)


async def test_a_wait_for_company_ends() -> None:
    scheduler, model, _ = held_scheduler(max_delay_seconds=0.05)
    model.go.set()
    batch = ScoreBatch(Texts.from_strings(["ab"]))
    started = time.monotonic()
    await scheduler.score(model, batch)
    assert time.monotonic() - started >= 0.05
    ids = ScoreBatch(TokenSequences(np.array([1]), np.array([0, 1])))
    await asyncio.wait_for(scheduler.score(model, ids), 20)  # which never has any
    await asyncio.to_thread(scheduler.close)


# --- turns of generation ---


async def test_turns_of_texts_and_scoring_take_turns() -> None:
    scheduler, model, _ = held_scheduler()
    turns: list[int] = []

    def turn() -> None:
        turns.append(len(model.scored))
        if len(turns) < 20:
            scheduler.submit(model, Turn(turn, "generation", 3, URGENT, 0.001))

    def large(caller: str) -> Any:
        async def score() -> BatchScores:
            with calling(Call("Score", caller, BULK)):
                ids = ScoreBatch(TokenSequences(np.zeros(2000, np.int64), np.array([0, 2000])))
                return await scheduler.score(model, ids)

        return score()

    [first] = await begun(scheduler.score(model, ScoreBatch(Texts.from_strings(["first"]))))
    await asyncio.to_thread(model.started.wait, 30)
    tasks = await begun(*(large("flood") for _ in range(10)))
    scheduler.submit(model, Turn(turn, "generation", 3, URGENT, 0.001))
    model.go.set()
    await asyncio.gather(first, *tasks)
    await until(lambda: len(turns) == 20)
    await asyncio.to_thread(scheduler.close)

    assert turns[:3] == [1, 1, 1]  # before any of the bulk work that came earlier


async def test_a_thread_takes_its_next_turn_itself_while_another_sleeps_on() -> None:
    workers, begun = Workers("ngram", 2, QueueLimits(), Observer()), Event()
    following = Entry(Call("Generate", "lane"), begun.set, Load(1))

    def turn() -> bool:
        give_up = time.monotonic() + 60
        while workers._idle != 1:  # noqa: SLF001 - the other one has not fallen asleep yet
            assert time.monotonic() < give_up
        workers.submit(following)
        return begun.wait(0.2)

    both = Barrier(2)
    meet = [Entry(Call("Score", ""), partial(both.wait, 60), Load(1)) for _ in range(2)]
    await asyncio.gather(*map(workers.result, meet))  # so that there are two threads
    begun_meanwhile = await workers.result(Entry(Call("Generate", "lane"), turn, Load(1)))
    begun_afterwards = await asyncio.to_thread(begun.wait, 60)
    workers.close()

    assert (begun_meanwhile, begun_afterwards) == (False, True)


async def test_a_thread_that_hands_out_more_than_it_can_take_gets_help() -> None:
    workers, both = Workers("ngram", 2, QueueLimits(), Observer()), Barrier(2)
    meet = [Entry(Call("Score", ""), partial(both.wait, 60), Load(1)) for _ in range(2)]

    def hand_out() -> None:
        for entry in meet:
            workers.submit(entry)

    workers.submit(Entry(Call("Generate", ""), hand_out, Load(1)))
    numbers = [await asyncio.wrap_future(entry.future) for entry in meet]
    workers.close()

    assert sorted(numbers) == [0, 1]


def test_a_turn_counts_for_what_could_be_scored_meanwhile_for_each_of_its_callers() -> None:
    turn = Turn(lambda: None, "generation", 4, URGENT, 0.02)

    assert turn.cost(10_000.0) == pytest.approx(50.0)


# --- on a real port ---


async def test_the_server_serves_who_is_urgent_first() -> None:
    model = HeldModel()
    async with serving(slow=model) as connection:

        def send(text: str, **metadata: str) -> Any:
            request = wire.ScoreRequest(model=SLOW, texts=[text])
            return connection.stub.Score(request, metadata=tuple(metadata.items()))

        workers = connection.server.scheduler._network  # noqa: SLF001
        calls = [send("first")]
        await asyncio.to_thread(model.started.wait, 30)
        stream = connection.stub.ScoreStream()  # bulk work by itself
        for _ in range(2):
            score = wire.ScoreRequest(model=SLOW, texts=["stream"])
            await stream.write(wire.ScoreStreamRequest(score=score))
        calls += [send("bulk", **{"lmscore-priority": "bulk"}) for _ in range(2)]
        await until(lambda: workers.waiting(BULK) == 4)
        calls.append(send("user"))
        await until(lambda: workers.waiting(URGENT) == 1)
        model.go.set()
        await asyncio.gather(*calls)
        stream.cancel()

    assert model.scored[:2] == [["first"], ["user"]]
    assert [sorted(each) for each in model.scored[2:]] == [["bulk", "bulk", "stream", "stream"]]


async def test_a_caller_is_told_early_that_its_deadline_would_be_missed() -> None:
    model = HeldModel()
    async with serving(slow=model) as connection:

        def send(**fields: Any) -> Any:
            request = wire.ScoreRequest(model=SLOW, texts=["ab" * 1000])
            return connection.stub.Score(request, **fields)

        workers = connection.server.scheduler._network  # noqa: SLF001
        measure(workers, cost=10_000, seconds=400.0)
        calls = [send()]
        await asyncio.to_thread(model.started.wait, 30)
        calls.append(send())
        await until(lambda: workers.waiting(URGENT) == 1)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await send(timeout=20)
        model.go.set()
        await asyncio.gather(*calls)

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.reason == "WOULD_MISS_DEADLINE"
    assert failed.retry_after_seconds == pytest.approx(24, abs=6)


# --- what is measured ---


async def test_who_measures_is_told_of_work_waiting_and_waste() -> None:
    scheduler, model, observer = held_scheduler()
    call = Call("Score", "anna", model="m")
    with calling(call):
        [gone] = await begun(scheduler.score(model, ScoreBatch(Texts.from_strings(["abc"]))))
        await asyncio.to_thread(model.started.wait, 30)
        tasks = await begun(
            *(scheduler.score(model, ScoreBatch(Texts.from_strings(["ab"]))) for _ in range(2))
        )
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.wait({gone})
        model.go.set()
        await asyncio.gather(*tasks)
    await asyncio.to_thread(scheduler.close)

    assert observer.batches == [("m", 1, 4), ("m", 2, 6)]
    assert observer.waste == [("m", 4)]
    assert [name for name, *_ in observer.depths] == ["network"] * len(observer.depths)
    assert [requests for _, requests, _ in observer.depths] == [1, 2, 3, 2, 0]
    assert min(observer.waits[1:]) >= 0.01
    assert call.queue_seconds == pytest.approx(sum(observer.waits))
    assert call.compute_seconds > 0


async def test_quick_work_is_measured_too() -> None:
    scheduler, model, observer = Scheduler(1), characters(), Notes()
    scheduler.observer = observer
    model.quick_bytes = 1000  # type: ignore[misc]
    call = Call("Score", "", model="m")
    with calling(call):
        await scheduler.score(model, ScoreBatch(Texts.from_strings(["ab", "a"])))

    assert observer.batches == [("m", 1, 5)]
    assert call.compute_seconds > 0
    assert call.queue_seconds == 0
    scheduler.close()


async def test_quick_bulk_work_does_not_overtake_urgent_work_that_waits() -> None:
    scheduler, held, quick = Scheduler(1), HeldModel(), HeldModel()
    held.exclusive = quick.exclusive = False  # type: ignore[misc]
    quick.quick_bytes = 1000  # type: ignore[misc]
    quick.go.set()
    batch = ScoreBatch(Texts.from_strings(["ab"]))
    [first] = await begun(scheduler.score(held, batch))
    await asyncio.to_thread(held.started.wait, 30)
    [urgent] = await begun(scheduler.score(held, batch))
    with calling(Call("ScoreStream", "flood", BULK)):
        [bulk] = await begun(scheduler.score(quick, batch))
    with calling(Call("Score", "user")):
        await scheduler.score(quick, batch)  # here and now

    assert len(quick.scored) == 1
    held.go.set()
    await asyncio.gather(first, urgent, bulk)
    await asyncio.to_thread(scheduler.close)


async def test_refusals_are_counted_by_reason() -> None:
    observer = Notes()
    scheduler, model = Scheduler(1, QueueLimits(max_requests=1), observer=observer), HeldModel()
    batch = ScoreBatch(Texts.from_strings(["ab"]))
    [first] = await begun(scheduler.score(model, batch))
    with pytest.raises(OverloadedError):
        await scheduler.score(model, batch)
    model.go.set()
    await first
    await asyncio.to_thread(scheduler.close)

    assert observer.refusals == ["QUEUE_FULL"]


def test_a_rate_is_known_only_after_enough_work_and_follows_it() -> None:
    rate = Throughput()
    for _ in range(7):
        rate.add(100, 1.0)
    assert rate.per_second is None
    rate.add(100, 1.0)
    assert rate.per_second == pytest.approx(100)
    for _ in range(60):
        rate.add(1000, 1.0)
    assert rate.per_second == pytest.approx(1000, rel=0.05)


def test_tokens_are_estimated_from_what_a_model_has_read() -> None:
    estimates, words, letters = TokenEstimates(), object(), object()
    assert estimates.tokens(words, 1000) == 250
    for _ in range(50):
        estimates.learn(words, 600, 100)
        estimates.learn(letters, 100, 100)

    assert estimates.tokens(words, 1200) == pytest.approx(200, abs=1)
    assert estimates.tokens(letters, 1200) == pytest.approx(1200, abs=1)


def test_the_time_until_a_place_is_free_follows_how_long_they_are_held() -> None:
    durations = Durations()
    assert durations.until_one_ends(10, otherwise=0.7) == 0.7
    for _ in range(20):
        durations.add(5.0)
    assert durations.until_one_ends(10, otherwise=0.7) == pytest.approx(0.5)


# --- whatever happens ---

programs = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"), st.sampled_from("abc"), st.booleans(), st.sampled_from([1e9, -1.0])
        ),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("let go"), st.booleans()),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(programs)
def test_all_work_is_done_once_or_fails_with_a_status(program: list[tuple[Any, ...]]) -> None:
    counts: list[int] = []

    def counting(number: int) -> Callable[[], int]:
        def work() -> int:
            counts[number] += 1
            return number

        return work

    async def run() -> None:
        async with held_workers(QueueLimits(max_requests=12)) as held:
            tasks: list[asyncio.Task[Any]] = []
            for step in program:
                match step:
                    case ("submit", caller, bulk, seconds):
                        priority = BULK if bulk else URGENT
                        call = Call("Score", caller, priority, time.monotonic() + seconds)
                        entry = Entry(call, counting(len(counts)), Load(1, 5, 5))
                        counts.append(0)
                        tasks += await begun(held.workers.result(entry))
                    case ("cancel", index) if tasks:
                        tasks[index % len(tasks)].cancel()
                        await asyncio.sleep(0)
                    case ("let go", _):
                        held.go.set()
            held.go.set()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for number, outcome in enumerate(outcomes):
                if isinstance(outcome, int):
                    assert (outcome, counts[number]) == (number, 1)
                else:
                    assert isinstance(outcome, ServiceError | asyncio.CancelledError)
                    assert counts[number] <= isinstance(outcome, asyncio.CancelledError)
            await asyncio.to_thread(held.workers.close)
            assert held.workers._backlog.total == Load()  # noqa: SLF001
            assert not held.workers._backlog._of_caller  # noqa: SLF001

    asyncio.run(run())
