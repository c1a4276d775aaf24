"""What the metrics say, against what was done."""

from __future__ import annotations

import asyncio
import itertools
import math
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.models.loading import load_model
from lmscore.server.call import Call
from lmscore.server.metrics.counted_calls import METHODS
from lmscore.server.metrics.histogram import BulkHistogram
from lmscore.server.metrics.metrics import Metrics
from lmscore.server.model_source import ModelSource
from lmscore.server.observability import Observability
from lmscore.server.observer import Ending
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1 import model_service_pb2
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.character_network import CHARACTERS, character_network
from tests.server.harness import Connection, running, settings_for
from tests.server.held_model import HeldModel, serve_instead
from tests.server.test_generation import until
from tests.server.told import one_score, told_of_everything

ROOT = Path(__file__).parents[2]
TINY = ModelSelector(name="tiny")
NASTY = ['tiny"', "x\nlmscore_up 1", "{}", "the quick brown fox", "ü" * 40, "tiny\\", ""]


def fresh(connection: Connection) -> Metrics:
    metrics = connection.server.observability.metrics
    assert metrics is not None
    metrics.refresh()
    return metrics


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Values of a metric by the values of its labels, in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == f"lmscore_{name}"
    }


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    found = registry.get_sample_value(f"lmscore_{name}", labels)
    assert found is not None, (name, labels)
    return found


async def code_of(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def test_requests_are_counted_by_method_code_and_model(connection: Connection) -> None:
    made = Counter[tuple[str, str, str]]()
    for name, texts in [("tiny", ["a b"]), ("tiny", []), ("none", ["a"]), ("tiny", ["b"] * 3)] * 3:
        request = wire.ScoreRequest(model=ModelSelector(name=name), texts=texts)
        code = await code_of(connection.stub.Score(request))
        made[code, "Score", "tiny" if name == "tiny" else ""] += 1
    await connection.models.ListModels(model_service_pb2.ListModelsRequest())
    made["OK", "ListModels", ""] += 1
    registry = fresh(connection).registry

    assert samples(registry, "requests_total") == dict(made)
    durations = Counter[tuple[str, str]]()
    for (_, method, model), count in made.items():
        durations[method, model] += count
    assert samples(registry, "request_duration_seconds_count") == dict(durations)
    assert value(registry, "rejected_requests_total", reason="MODEL_NOT_FOUND") == 3
    assert value(registry, "rejected_requests_total", reason="INVALID_FIELD") == 3
    assert set(samples(registry, "running_calls").values()) == {0.0}


async def test_scored_texts_are_counted_with_their_tokens_and_perplexities(
    connection: Connection, tiny_arpa: Path
) -> None:
    texts = ["a b", "x", "", "b b a x x"]
    request = wire.ScoreStreamRequest(score=wire.ScoreRequest(model=TINY, texts=texts))
    many = itertools.repeat(request, 1100)  # more than are worth a pass over them
    assert len([answer async for answer in connection.stub.ScoreStream(many)]) == 1100
    registry = fresh(connection).registry

    scores = load_model(tiny_arpa).score(ScoreBatch(Texts.from_strings(texts)))
    assert value(registry, "scored_tokens_total", model="tiny") == 1100 * (3 + 2 + 1 + 6)
    assert value(registry, "oov_tokens_total", model="tiny") == 1100 * 3
    assert value(registry, "text_tokens_count", model="tiny") == 4400
    assert value(registry, "text_tokens_sum", model="tiny") == 1100 * 12
    perplexities = scores.perplexities
    total = value(registry, "text_perplexity_sum", model="tiny")
    assert total == pytest.approx(1100 * perplexities.sum())
    for bound in (2.0, 5.0, 10.0):
        below = value(registry, "text_perplexity_bucket", model="tiny", le=str(bound))
        assert below == 1100 * np.count_nonzero(perplexities <= bound)


async def test_a_stream_counts_as_one_call_with_all_of_its_texts(connection: Connection) -> None:
    request = wire.ScoreRequest(model=TINY, texts=["a b"])
    stream = connection.stub.ScoreStream(iter([wire.ScoreStreamRequest(score=request)] * 5))
    assert len([answer async for answer in stream]) == 5
    registry = fresh(connection).registry

    assert samples(registry, "requests_total") == {("OK", "ScoreStream", "tiny"): 1}
    assert value(registry, "scored_tokens_total", model="tiny") == 15


async def test_a_call_whose_caller_has_gone_says_so(connection: Connection) -> None:
    model = serve_instead(connection, HeldModel())
    call = connection.stub.Score(wire.ScoreRequest(model=TINY, texts=["a"]))
    await asyncio.to_thread(model.started.wait, 60)
    assert value(fresh(connection).registry, "running_calls", method="Score") == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(connection.server.calls.drain(), 60)
    model.go.set()

    registry = fresh(connection).registry
    assert samples(registry, "requests_total") == {("CANCELLED", "Score", "tiny"): 1}
    assert value(registry, "running_calls", method="Score") == 0


async def test_a_call_whose_time_is_over_says_so(connection: Connection) -> None:
    model = serve_instead(connection, HeldModel())
    request = wire.ScoreRequest(model=TINY, texts=["a"])
    await connection.models.ListModels(model_service_pb2.ListModelsRequest())  # it is connected
    for time_left in ("200m", "1S", "5S", "25S"):  # until it is enough for the work to begin
        before = Counter(samples(fresh(connection).registry, "requests_total"))
        # As the server is told it; a timeout would let the client give up at almost the same time.
        call = connection.stub.Score(request, metadata=(("grpc-timeout", time_left),))
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        await until(lambda: connection.server.calls.running == 0)
        if model.started.is_set():
            break
    model.go.set()

    registry = fresh(connection).registry
    counted = Counter(samples(registry, "requests_total")) - before
    assert counted == {("DEADLINE_EXCEEDED", "Score", "tiny"): 1}
    assert value(registry, "running_calls", method="Score") == 0


async def test_generated_texts_are_counted_with_their_ends(connection: Connection) -> None:
    request = wire.GenerateRequest(model=TINY, prompt="a x", num_sequences=3, max_tokens=4, seed=5)
    request.sampling.temperature = 1.0
    reasons: list[Any] = []
    tokens = 0
    async for message in connection.stub.Generate(request):
        tokens += len(message.tokens)
        reasons += [end.reason for end in message.finished]
    registry = fresh(connection).registry

    assert value(registry, "generated_tokens_total", model="tiny") == tokens
    names = Counter(wire.FinishReason.Name(reason) for reason in reasons)
    finished = samples(registry, "generation_finished_total")
    assert {f"FINISH_REASON_{reason}": n for (_, reason), n in finished.items() if n} == names
    assert value(registry, "time_to_first_token_seconds_count", model="tiny") == 1
    gaps = value(registry, "inter_token_duration_seconds_count", model="tiny")
    assert gaps <= tokens - 3  # none before a text's first; those sent with it have none either
    assert value(registry, "active_sequences", model="tiny") == 0


async def test_texts_of_a_caller_that_left_are_abandoned(connection: Connection) -> None:
    request = wire.GenerateRequest(model=TINY, num_sequences=8, max_tokens=4096, min_tokens=4096)
    request.sampling.temperature = 1.0
    call = connection.stub.Generate(request)
    await call.read()
    call.cancel()
    await asyncio.wait_for(connection.server.calls.drain(), 60)
    registry = fresh(connection).registry

    ends = {k: n for k, n in samples(registry, "generation_finished_total").items() if n}
    assert ends == {("tiny", "ABANDONED"): 8}


async def test_tokens_that_texts_of_a_network_share_are_counted() -> None:
    texts = ["the cat", "the cat", "the car", "a"]
    scores = character_network().score(ScoreBatch(Texts.from_strings(texts)))

    # What is read: what stands before a text, its characters, and what stands after it.
    paths = [["<s>", *text, "</s>"] for text in texts]
    prefixes = {tuple(path[: i + 1]) for path in paths for i in range(len(path))}
    assert set("".join(texts)) <= set(CHARACTERS)
    assert scores.shared_tokens == sum(map(len, paths)) - len(prefixes)


async def test_models_are_told_of_with_their_identity(connection: Connection) -> None:
    registry = fresh(connection).registry
    served = connection.server.repository.find("tiny", None)

    labels = {"model": "tiny", "version": "1"}
    loaded = {**labels, "kind": "ngram", "fingerprint": served.fingerprint}
    assert value(registry, "model_loaded", **loaded) == 1
    assert value(registry, "model_memory_bytes", **labels) == served.model.description.memory_bytes
    assert value(registry, "model_load_duration_seconds_count", model="tiny") == 1
    connection.server.observability.observer.unloaded(served)
    assert value(registry, "model_loaded", **loaded) == 0


async def test_a_model_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    broken = tmp_path / "broken.arpa"
    broken.write_text("nothing")
    sources = (ModelSource(name="broken", path=broken),)
    async with running(settings_for(broken, model=sources), load=False) as connection:
        with pytest.raises(Exception, match=r"broken\.arpa"):
            await connection.server.load_models()
        registry = fresh(connection).registry

    assert value(registry, "model_load_failures_total", model="broken") == 1
    assert samples(registry, "model_loaded") == {}


@pytest.fixture(scope="module")
def told() -> tuple[Metrics, set[str]]:
    """Metrics, and the labels that they have before any caller sends a text."""
    metrics = told_of_everything()
    return metrics, labels_of(metrics.registry)


@settings(max_examples=20)
@given(names=st.lists(st.one_of(st.text(), st.sampled_from(NASTY)), max_size=5))
def test_no_text_of_a_caller_is_ever_a_label(
    told: tuple[Metrics, set[str]], names: list[str]
) -> None:
    metrics, before = told
    for name in names:
        call = Call(method=name, caller=name, model=name, id=name)
        metrics.began(call, {name: name})
        metrics.ended(call, Ending(grpc.StatusCode.OK))
        metrics.scored(name, one_score(-1.0, 2))
        metrics.batch(name, 1, 2, 0.1)
        metrics.queued(name, 0.1)
        metrics.wasted(name, 3)
        metrics.load_failed(name)
        metrics.first_token(name, 0.1)
        metrics.next_tokens(name, 0.1, 2)
        metrics.abandoned(name, 1)
        metrics.generations(name, 1, 1)
        metrics.refresh()

    assert labels_of(metrics.registry) - before <= {"", "OK", "tiny"} | {
        label for label in labels_of(metrics.registry) if label in METHODS
    }


async def test_what_callers_send_is_in_no_label(connection: Connection) -> None:
    for name in [*NASTY, "tiny"]:
        request = wire.ScoreRequest(model=ModelSelector(name=name), texts=["a secret", name])
        await code_of(connection.stub.Score(request, metadata=(("x-request-id", "mine"),)))
    text = generate_latest(fresh(connection).registry).decode()

    for forbidden in ["secret", "fox", "127.0.0.1", "ipv4", "mine", "ü"]:
        assert forbidden not in text
    assert set(samples(fresh(connection).registry, "requests_total")) == {
        ("NOT_FOUND", "Score", ""),
        ("INVALID_ARGUMENT", "Score", ""),
        ("OK", "Score", "tiny"),
    }


def test_both_forms_of_the_exposition_can_be_read() -> None:
    registry = told_of_everything().registry

    for text, parser in [
        (generate_latest(registry).decode(), parse),
        (openmetrics_of(registry), parse_openmetrics),
    ]:
        families: dict[str, Metric] = {family.name: family for family in parser(text)}
        assert {metric.name for metric in registry.collect()} <= set(families)
    assert 'trace_id="00f067aa0ba902b7"' in openmetrics_of(registry)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=generate_latest(told_of_everything().registry),
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_every_metric_is_in_the_documentation_as_it_is() -> None:
    documented = {}
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        if line.startswith("| `lmscore_"):
            name, kind, labels, _unit, meaning = (part.strip() for part in line.split("|")[1:-1])
            labelled = frozenset(labels.replace("`", "").split(", ")) - {""}
            documented[name.strip("`")] = (kind, labelled, meaning)
    registered = {}
    for metric in told_of_everything().registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labelled = frozenset().union(*(sample.labels for sample in metric.samples)) - {"le"}
        registered[name] = (metric.type, labelled, metric.documentation)

    assert {k: v for k, v in documented.items() if "_gpu_" not in k} == registered


@given(st.lists(st.one_of(st.floats(0, 3e6), st.just(math.inf)), max_size=30))
def test_many_values_are_observed_as_one_by_one(values: list[float]) -> None:
    bounds = (1.0, 2.0, 5.0, 1e6)
    registry = CollectorRegistry()
    many = BulkHistogram("many", "Many.", buckets=bounds, registry=registry)
    one = Histogram("one", "One.", buckets=bounds, registry=registry)
    many.observe_many(np.array(values, float))
    for each in values:
        one.observe(each)

    counted = {s.labels.get("le", s.name): s.value for m in registry.collect() for s in m.samples}
    for bound in ("1.0", "2.0", "5.0", "1e+06", "+Inf"):
        assert registry.get_sample_value("many_bucket", {"le": bound}) == counted[bound]
    assert counted["many_sum"] == pytest.approx(sum(min(each, 1e6) for each in values))


PROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.server.told import told_of_everything
told_of_everything()
"""


@pytest.mark.timeout(300)
def test_processes_add_up(tmp_path: Path) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", PROCESS, str(ROOT)]
    path = {"PYTHONPATH": ":".join(sys.path)}
    workers = [subprocess.Popen(command, env={**environment, **path}) for _ in range(2)]
    assert [worker.wait(280) for worker in workers] == [0, 0]
    together = CollectorRegistry()
    collector: Any = MultiProcessCollector  # which has no types
    collector(together, str(tmp_path))

    alone = told_of_everything().registry
    for name in ("requests_total", "scored_tokens_total", "text_perplexity_sum"):
        doubled = {key: 2 * each for key, each in samples(alone, name).items()}
        assert samples(together, name) == pytest.approx(doubled)
    for name in ("model_loaded", "queue_depth", "running_calls"):
        assert samples(together, name) == {k: 2 * v for k, v in samples(alone, name).items()}
    for name in ("build_info", "model_memory_bytes"):
        assert samples(together, name) == samples(alone, name)
    assert {m.name for m in together.collect()} == {m.name for m in alone.collect()}


async def test_nobody_needs_to_watch(tiny_arpa: Path) -> None:
    nobody = Observability()
    async with running(settings_for(tiny_arpa), observability=nobody) as connection:
        answer = await connection.stub.Score(wire.ScoreRequest(model=TINY, texts=["a b"]))

    assert len(answer.scores) == 1


def openmetrics_of(registry: CollectorRegistry) -> str:
    generate: Any = generate_openmetrics  # which has no types
    text: str = generate(registry).decode()
    return text


def labels_of(registry: CollectorRegistry) -> set[str]:
    return {
        label
        for metric in registry.collect()
        for sample in metric.samples
        for name, label in sample.labels.items()
        if name != "le"
    }
