"""Many calls of Generate at once: who joins and leaves, who is slow, who fails, who has to wait."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmscore.models.decoding.parameters import Decoding, Sampling
from lmscore.models.decoding.text_batch import Place, Prompt, Token
from lmscore.models.language_model import BatchScores, LanguageModel, ScoreBatch
from lmscore.models.loading import load_model
from lmscore.server import call as server_call
from lmscore.server.call import Priority
from lmscore.server.generation.call import Call, Item, Mark, Wanted
from lmscore.server.generation.loop import GenerationLoop
from lmscore.server.generation.prompts import PromptReader
from lmscore.server.scheduling.scheduler import Turn
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub
from lmscore.v1.model_service_pb2 import ListModelsRequest
from tests.server.generating import (
    DEMO,
    MODEL,
    character_network,
    generated,
    in_process,
    request,
    serving,
    stream_of,
)
from tests.server.harness import Connection, failure_of
from tests.server.slow_model import SlowModel

LONG: dict[str, Any] = {"min_tokens": 4096, "max_tokens": 4096, "sampling": wire.Sampling()}

LARGE: dict[str, Any] = LONG | {"num_sequences": 10, "alternatives": 5}
"""More than gRPC keeps for a reader that does not read."""

SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
"""So that gRPC does not read megabytes ahead."""


async def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for is a number of the server's
            await asyncio.sleep(0.002)


async def paused_for_good(connection: Connection, model: SlowModel) -> None:
    """Wait until the only call is paused, and stays so while the server answers others."""
    still = 0
    async with asyncio.timeout(60):
        while still < 20:
            steps = model.steps
            await connection.models.ListModels(ListModelsRequest())
            await asyncio.sleep(0.01)
            waits = connection.server.generator.waiting_calls == 1 and active(connection) == 0
            still = still + 1 if waits and steps == model.steps else 0


def active(connection: Connection) -> int:
    return connection.server.generator.active_sequences


def joined(connection: Connection) -> int:
    """Calls that take part, or will in the turn after the one under way."""
    generator = connection.server.generator
    loops = [loop for served in generator._served.values() for loop in served._rows]  # noqa: SLF001
    return sum(len(loop._origins) for loop in loops)  # noqa: SLF001


async def rows_after(model: SlowModel, connection: Connection, running: int) -> list[int]:
    """Rows of the steps after the one under way when a call had left, and the next such step.

    The step under way is held until the server knows that only so many calls are left.
    """
    await until(lambda: connection.server.calls.running == running)
    under_way = model.steps
    model.go.set()
    await until(lambda: model.steps > under_way + 2 or active(connection) == 0)
    return model.rows[under_way + 1 :]


@pytest.mark.parametrize("make", [lambda: load_model(DEMO), character_network])
async def test_a_seed_gives_its_text_whoever_else_joins_leaves_or_is_cancelled(
    make: Callable[[], LanguageModel[Any]],
) -> None:
    model = make()
    chance = random.Random(3)

    async def tenant(connection: Connection, number: int) -> None:
        await asyncio.sleep(chance.random() * 0.2)
        call = connection.stub.Generate(
            request(
                prompt=chance.choice(["the", "", "a function of"]),
                sampling=wire.Sampling(temperature=chance.choice([0.5, 1.0, 2.0])),
                num_sequences=chance.choice([1, 1, 3]),
                max_tokens=chance.randrange(1, 80),
                seed=number,
            )
        )
        async for _ in call:
            if chance.random() < 0.02:
                call.cancel()
                with suppress(asyncio.CancelledError):
                    await call.read()
                return

    settings = Decoding(Sampling(), seed=42, max_tokens=100, min_tokens=60, num_sequences=2)
    expected = in_process(model, "the", settings)
    async with serving(model, max_sequences=40) as connection:
        tenants = [asyncio.create_task(tenant(connection, i)) for i in range(50)]
        for _ in range(3):
            stream = await generated(
                connection,
                prompt="the",
                sampling=wire.Sampling(),
                seed=42,
                max_tokens=100,
                min_tokens=60,
                num_sequences=2,
            )
            for number, text in stream.texts.items():
                assert text.token_ids == expected[number].token_ids
                assert text.text == expected[number].text
                assert text.log_probs == pytest.approx(expected[number].log_probs, abs=1e-5)
        await asyncio.gather(*tenants)
        await until(lambda: active(connection) == connection.server.generator.waiting_calls == 0)


async def test_calls_advance_together() -> None:
    model = SlowModel()
    model.go.clear()
    async with serving(model) as connection:
        fields = {"max_tokens": 30, "min_tokens": 30}
        calls = [asyncio.create_task(generated(connection, **fields)) for _ in range(20)]
        await until(lambda: joined(connection) == 20)
        model.go.set()
        await asyncio.gather(*calls)

    assert model.steps < 2 * 30
    assert max(model.rows) == 20


class _HeldAfterTheFirst(SlowModel):
    """Gives a token, and the next one when it may."""

    def next_log_probs(self, states: NDArray[np.int64]) -> NDArray[np.float64]:
        log_probs = super().next_log_probs(states)
        if self.steps == 1:
            time.sleep(0.01)  # longer than a turn of several steps
            self.go.clear()
        return log_probs


async def test_a_fast_model_sends_several_tokens_in_a_message_and_the_first_at_once() -> None:
    model = _HeldAfterTheFirst()
    async with serving(model, message_interval_seconds=0.1) as connection:
        call = connection.stub.Generate(request(min_tokens=500, max_tokens=500))
        messages = [await call.read()]
        while not messages[-1].tokens:  # the prompt is read before there is one
            messages.append(await call.read())
        assert len(messages[-1].tokens) == 1  # there is no other yet
        model.go.set()
        started = time.monotonic()
        rest: list[Any] = []
        while (message := await call.read()) is not grpc.aio.EOF:
            rest.append(message)
        seconds = time.monotonic() - started

    assert len(stream_of([*messages, *rest]).texts[0].token_ids) == 500
    assert 1 <= len(rest) <= seconds / 0.1 + 2


async def test_a_cancelled_call_frees_its_place_within_one_step() -> None:
    model = SlowModel(0.003)
    async with serving(model) as connection:
        stays = connection.stub.Generate(request(**LONG))
        leaves = connection.stub.Generate(request(num_sequences=5, **LONG))
        await until(lambda: active(connection) == 6)
        model.go.clear()
        leaves.cancel()
        assert set(await rows_after(model, connection, running=1)) == {1}
        assert (await stays.read()).started.model.name == "m"
        stays.cancel()
        await until(lambda: active(connection) == connection.server.calls.running == 0)


def has_begun_or_ended(connection: Connection, call: Any) -> bool:
    return active(connection) == 6 or call.done()


async def test_a_retired_model_is_let_go_when_its_last_call_is_over() -> None:
    model = SlowModel()
    async with serving(model) as connection:
        generator = connection.server.generator
        await generated(connection, max_tokens=1)
        assert [load.model for load in generator.loads()] == [model]
        generator.retire(model)
        assert not generator.loads()

        model.go.clear()
        calls = [connection.stub.Generate(request(**LONG)) for _ in range(2)]
        await until(lambda: joined(connection) == 2)
        calls[0].cancel()
        await until(lambda: connection.server.calls.running == 1)
        assert generator.loads()  # it has a call still
        calls[1].cancel()
        await until(lambda: not generator.loads())
        model.go.set()


async def test_a_passed_deadline_frees_the_place() -> None:
    model = SlowModel(0.003)
    async with serving(model) as connection:
        stays = connection.stub.Generate(request(**LONG))
        for seconds in (0.5, 2.0, 8.0, 32.0):  # until it is long enough for the call to begin
            leaves = connection.stub.Generate(request(num_sequences=5, **LONG), timeout=seconds)
            await until(partial(has_begun_or_ended, connection, leaves))
            if active(connection) == 6:
                break
        model.go.clear()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            [_ async for _ in leaves]
        assert set(await rows_after(model, connection, running=1)) == {1}
        stays.cancel()

    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


_CLIENT = """
import sys, grpc
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub
with grpc.insecure_channel(sys.argv[1]) as channel:
    request = wire.GenerateRequest.FromString(bytes.fromhex(sys.argv[2]))
    for message in LanguageModelServiceStub(channel).Generate(request):
        print(len(message.tokens), flush=True)
"""


async def test_a_client_that_dies_frees_its_place_within_one_step() -> None:
    model = SlowModel(0.003)
    async with serving(model) as connection:
        arguments = [connection.server.address, request(**LONG).SerializeToString().hex()]
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _CLIENT, *arguments, stdout=subprocess.PIPE
        )
        try:
            assert client.stdout is not None
            assert await client.stdout.readline()
            assert active(connection) == 1
            model.go.clear()
        finally:
            client.send_signal(signal.SIGKILL)
            await client.communicate()
        assert await rows_after(model, connection, running=0) == []
        assert active(connection) == 0


async def test_a_reader_that_does_not_read_pauses_and_others_go_on() -> None:
    settings = Decoding(Sampling(), seed=1, min_tokens=1000, max_tokens=1000, num_sequences=10)
    fields = LARGE | {"seed": 1, "min_tokens": 1000, "max_tokens": 1000}  # a megabyte
    model = SlowModel()
    async with serving(model, max_unwritten_tokens=100, max_sequences=10) as connection:
        generator = connection.server.generator
        channel = grpc.aio.insecure_channel(connection.server.address, options=SMALL_WINDOW)
        stalled = LanguageModelServiceStub(channel).Generate(request(**fields))
        await paused_for_good(connection, model)  # without a place

        # Others get its place, and their texts.
        other = await generated(connection, num_sequences=10, max_tokens=50, min_tokens=50)
        assert len(other.texts) == 10
        assert generator.waiting_calls == 1

        stream = stream_of([message async for message in stalled])
        await channel.close()
        assert max(len(message.tokens) for message in stream.messages) > 10  # what had piled up
        await until(lambda: generator.waiting_calls == 0)
    expected = in_process(model, "", settings)
    assert {i: t.token_ids for i, t in stream.texts.items()} == {
        i: t.token_ids for i, t in expected.items()
    }


def test_tokens_are_unwritten_from_when_they_are_given_until_they_are_written() -> None:
    nothing = np.array([], np.int64)
    prompt = Prompt(0, b"", nothing, Decoding(), 0)
    call = Call(Wanted(prompt, nothing), server_call.Call("Generate", "anna"))
    call.give(Mark.READ)
    for i in range(5):
        call.give(Token(Place(0, 0), i, -1.0, "a"))

    assert call.unwritten == 5  # what is no token does not count
    assert len(call.take(4)) == 4
    assert call.unwritten == 5
    call.written(3)
    assert call.unwritten == 2
    assert [item.token_id for item in call.take(9) if isinstance(item, Token)] == [3, 4]


@pytest.mark.parametrize("last", [Mark.ENDED, ZeroDivisionError()])
def test_a_call_is_over_with_its_end_or_with_an_error(last: Item) -> None:
    nothing = np.array([], np.int64)
    prompt = Prompt(7, b"", nothing, Decoding(), 0)
    call = Call(Wanted(prompt, nothing), server_call.Call("Generate", "anna"))
    for item in (Mark.READ, Mark.PAUSED, Token(Place(0, 0), 1, -1.0, "a")):
        call.give(item)
        assert not call.over
    call.give(last)
    call.give(Mark.READ)

    assert call.over
    assert (call.number, call.pauses, call.has_rows, call.paused) == (7, 0, False, False)


def test_turns_are_as_urgent_as_the_most_urgent_call() -> None:
    turns: list[Turn] = []
    loop = GenerationLoop(
        SlowModel(),
        turns.append,
        lambda _: None,
        max_prefill_tokens=10,
        max_unwritten_tokens=10**6,
    )

    def call(number: int, caller: str, priority: Priority) -> Call:
        settings = Decoding(max_tokens=10**6, min_tokens=10**6)
        prompt = Prompt(number, b"", np.zeros(0, np.int64), settings, 0)
        origin = server_call.Call("Generate", caller, priority)
        return Call(Wanted(prompt, np.ones(1, np.int64)), origin)

    urgent = call(2, "cleo", Priority.INTERACTIVE)
    loop.join(call(0, "anna", Priority.BULK))
    loop.join(call(1, "bert", Priority.BULK))
    changes: list[Callable[[Call], None]] = [loop.join, loop.leave, loop.go_on]
    for change in changes:
        turns[-1].work()
        change(urgent)
    turns[-1].work()

    told = [(turn.priority, turn.callers) for turn in turns[:5]]
    assert told[:2] == [(Priority.BULK, 1), (Priority.BULK, 2)]
    assert told[2:] == [
        (Priority.INTERACTIVE, 3),
        (Priority.BULK, 2),
        (Priority.BULK, 2),
    ]


@given(st.lists(st.integers(0, 30), max_size=6), st.integers(1, 60))
def test_prompts_share_the_tokens_to_be_read_and_the_short_ones_are_done_first(
    lengths: list[int], budget: int
) -> None:
    reader = PromptReader(SlowModel())
    for number, length in enumerate(lengths):
        prompt = Prompt(number, b"", np.zeros(0, np.int64), Decoding(), 0)
        wanted = Wanted(prompt, np.ones(length, np.int64))
        reader.add(Call(wanted, server_call.Call("Generate", "anna")))

    shares = reader.shares(budget)

    got = [shares.get(number, 0) for number in range(len(lengths))]
    assert sum(got) == min(budget, sum(lengths))
    unfinished = [share for share, length in zip(got, lengths, strict=True) if share < length]
    assert all(share <= length for share, length in zip(got, lengths, strict=True))
    assert all(max(got) - share <= 1 for share in unfinished)  # nobody has much more
    assert all(number in shares for number, length in enumerate(lengths) if length == 0)


async def test_a_paused_call_that_is_cancelled_is_gone() -> None:
    model = SlowModel()
    async with serving(model, max_unwritten_tokens=100) as connection:
        channel = grpc.aio.insecure_channel(connection.server.address, options=SMALL_WINDOW)
        stalled = LanguageModelServiceStub(channel).Generate(request(**LARGE))
        await paused_for_good(connection, model)
        stalled.cancel()
        await channel.close()
        await until(lambda: connection.server.generator.waiting_calls == 0)
        await until(lambda: connection.server.calls.running == 0)
        assert (await generated(connection, max_tokens=3)).texts


async def test_who_finds_no_place_waits_and_who_finds_no_queue_is_told_to_retry() -> None:
    model = SlowModel(0.01)
    async with serving(model, max_sequences=2, max_waiting_generations=1) as connection:
        generator = connection.server.generator
        first = connection.stub.Generate(request(num_sequences=2, **LONG))
        await until(lambda: active(connection) == 2)
        second = asyncio.create_task(generated(connection, max_tokens=5))
        await until(lambda: generator.waiting_calls == 1)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await generated(connection)
        first.cancel()

        assert (await second).texts[0].token_ids
        assert generator.waiting_calls == 0
    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.reason == "TOO_MANY_GENERATIONS"
    assert failed.retry_after_seconds == pytest.approx(1)


async def test_a_waiting_call_that_is_cancelled_leaves_the_queue() -> None:
    async with serving(SlowModel(0.01), max_sequences=2) as connection:
        generator = connection.server.generator
        first = connection.stub.Generate(request(num_sequences=1, **LONG))
        await until(lambda: active(connection) == 1)
        large = connection.stub.Generate(request(num_sequences=2))
        await until(lambda: generator.waiting_calls == 1)
        small = asyncio.create_task(generated(connection, max_tokens=3))
        await until(
            lambda: generator.waiting_calls == 2
        )  # behind the large one, though there is room
        large.cancel()
        assert (await small).texts
        first.cancel()


@pytest.mark.parametrize(
    ("field", "asked"),
    [("num_sequences", {"num_sequences": 3}), ("beam.width", {"beam": wire.Beam(width=3)})],
)
async def test_what_could_never_have_a_place_is_refused(field: str, asked: dict[str, Any]) -> None:
    async with serving(SlowModel(), max_sequences=2) as connection:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await generated(connection, **asked)

    assert failure_of(raised.value).fields == [field]


async def test_long_prompts_are_read_in_pieces_between_the_steps_of_others() -> None:
    model = SlowModel(0.002)
    async with serving(model, max_prefill_tokens=10) as connection:
        runs = connection.stub.Generate(request(**LONG))
        await until(lambda: active(connection) == 1)
        model.go.clear()
        prompts = ["ab" * 200, "a", "ba" * 10]
        others = [
            asyncio.create_task(generated(connection, prompt=prompt, max_tokens=1))
            for prompt in prompts
        ]
        await until(lambda: joined(connection) == 4)
        begun_at = model.steps
        model.go.set()
        done = await asyncio.gather(*others)
        assert model.steps - begun_at >= 40  # steps of the other one, while 423 tokens were read
        runs.cancel()

    assert max(model.pieces) <= 10
    assert [stream.started.prompt_token_count for stream in done] == [400, 1, 20]


class _NotesWhenItScores(SlowModel):
    """Keeps after how many steps it has scored."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.scored_at: list[int] = []

    def score(self, batch: ScoreBatch) -> BatchScores:
        self.scored_at.append(self.steps)
        return super().score(batch)


async def test_scoring_goes_on_between_two_steps() -> None:
    model = _NotesWhenItScores(0.003)
    async with serving(model) as connection:
        workers = connection.server.scheduler._network  # noqa: SLF001
        runs = connection.stub.Generate(request(**LONG))
        await until(lambda: active(connection) == 1)
        for i in range(5):
            model.go.clear()
            score = connection.stub.Score(wire.ScoreRequest(model=MODEL, texts=["ab"]))
            # A turn that was just over waits too, for a moment.
            await until(lambda: workers.waiting(Priority.INTERACTIVE) == 1)
            before = model.steps
            model.go.set()
            assert (await score).scores[0].token_count == 3
            assert model.scored_at[i] <= before + 3
        runs.cancel()


@pytest.mark.parametrize("exclusive", [True, False])
async def test_a_call_whose_token_fails_ends_and_others_do_not(exclusive: bool) -> None:
    model = SlowModel(exclusive=exclusive)
    model.poison = 4  # never drawn by those who ban it
    fields = {"min_tokens": 50, "max_tokens": 50, "sampling": wire.Sampling()}
    async with serving(model) as connection:
        results = await asyncio.gather(
            *(
                generated(connection, seed=i, banned_token_ids=[] if i in {2, 5} else [4], **fields)
                for i in range(8)
            ),
            return_exceptions=True,
        )
        assert (await generated(connection, seed=0, banned_token_ids=[4], **fields)).texts
    for i, result in enumerate(results):
        if i in {2, 5}:
            assert isinstance(result, grpc.aio.AioRpcError)
            assert result.code() is grpc.StatusCode.INTERNAL
        else:
            settings = Decoding(
                Sampling(), min_tokens=50, max_tokens=50, seed=i, banned_token_ids=(4,)
            )
            model.poison = -1
            assert not isinstance(result, BaseException)
            assert result.texts[0].token_ids == in_process(model, "", settings)[0].token_ids


async def test_a_prompt_that_fails_ends_its_own_call_alone() -> None:
    model = SlowModel()
    model.poison = 4
    async with serving(model) as connection:
        model.go.clear()
        runs = connection.stub.Generate(request(banned_token_ids=[4], **LONG))
        await until(lambda: active(connection) == 1)  # its step holds the others back
        fields = {"max_tokens": 5, "min_tokens": 5, "banned_token_ids": [4]}
        calls = [
            asyncio.create_task(generated(connection, prompt=prompt, **fields))
            for prompt in ("a", "ü", "b")
        ]
        await until(lambda: connection.server.calls.running == 4)
        await asyncio.sleep(0.1)
        model.go.set()
        good, bad, fine = await asyncio.gather(*calls, return_exceptions=True)
        runs.cancel()

    assert max(model.pieces) == 6  # <s> and a letter of each: they were read together
    assert isinstance(bad, grpc.aio.AioRpcError)
    assert bad.code() is grpc.StatusCode.INTERNAL
    for result in (good, fine):
        assert not isinstance(result, BaseException)
        assert len(result.texts[0].token_ids) == 5


async def test_memory_that_runs_out_has_a_status_and_the_loop_goes_on() -> None:
    model = SlowModel()
    model.most_rows = 4
    async with serving(model) as connection:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await generated(connection, num_sequences=5)
        smaller = await asyncio.gather(
            *(generated(connection, num_sequences=3, max_tokens=20) for _ in range(3))
        )

    failed = failure_of(raised.value)
    assert failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.reason == "OUT_OF_MEMORY"
    assert [len(stream.texts) for stream in smaller] == [3, 3, 3]  # 9 rows, a call at a time


async def test_prompts_that_are_read_together_fail_each_for_itself() -> None:
    model = SlowModel()
    model.most_copied = 4
    async with serving(model) as connection:
        model.go.clear()
        runs = connection.stub.Generate(request(**LONG))
        await until(lambda: active(connection) == 1)  # its step holds the others back
        calls = [
            asyncio.create_task(
                generated(connection, num_sequences=count, max_tokens=2, prompt="a")
            )
            for count in (3, 5, 3)
        ]
        await until(lambda: joined(connection) == 4)
        model.go.set()
        small, large, other = await asyncio.gather(*calls, return_exceptions=True)
        runs.cancel()

    assert isinstance(large, grpc.aio.AioRpcError)
    assert failure_of(large).reason == "OUT_OF_MEMORY"
    for result in (small, other):
        assert not isinstance(result, BaseException)
        assert len(result.texts) == 3


async def test_drain_lets_running_texts_end() -> None:
    model = SlowModel(0.005)
    async with serving(model) as connection:
        runs = asyncio.create_task(generated(connection, max_tokens=50, min_tokens=50))
        await until(lambda: active(connection) == 1)
        model.go.clear()
        drained = asyncio.create_task(connection.server.drain())
        await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await generated(connection)
        model.go.set()
        assert len((await runs).texts[0].token_ids) == 50
        await drained

    assert failure_of(refused.value).reason == "DRAINING"


async def test_drain_ends_what_goes_on_for_too_long() -> None:
    async with serving(SlowModel(0.01), drain_timeout_seconds=0.3, max_sequences=1) as connection:
        calls = [
            asyncio.create_task(generated(connection, **LONG)),
            asyncio.create_task(generated(connection, **LONG)),  # which waits for a place
        ]
        await until(lambda: connection.server.generator.waiting_calls == 1)
        await connection.server.drain()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: active(connection) == 0)

    for error in ended:
        assert isinstance(error, grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.CANCELLED
        assert failure_of(error).reason == "DRAIN_TIMEOUT"
