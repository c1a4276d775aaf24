"""The parts of a soak run, each with servers of its own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc

from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.models.loading import load_model
from lmscore.models.network.placement import Placement
from lmscore.models.ngram.file import save_ngram
from lmscore.models.ngram.model import NgramModel
from tests.soak import deployment, failing_model, failover, faults, fuzz, load, overload
from tests.soak.expected import DEMO_MODELS, Library
from tests.soak.proxy import proxy_to
from tests.soak.report import Tally
from tests.soak.server_process import SoakServer, soak_server

CHANNELS = 6
CASES_EACH = 12
TIMEOUT_SECONDS = 60.0

MOST_GROWTH_BYTES = 64 << 20
"""A server's memory may be so much larger at the end than after it was warm."""

OTHER_MODEL = """\\data\\
ngram 1=3

\\1-grams:
-1.0\t<unk>
-99\t<s>
-0.3\t</s>

\\end\\
"""

THROUGH_PROXY = frozenset({grpc.StatusCode.UNAVAILABLE})
"""How calls may end whose connection is cut in the middle of an answer."""


@dataclass(frozen=True)
class Plan:
    """How long and how much."""

    folder: Path  # for logs and models
    seconds: float  # of all parts together, about
    clients: int
    fuzz_requests: int
    seed: int


def models_in(folder: Path) -> dict[str, Path]:
    """The demo models, the n-grams as a file that servers map and that can be replaced."""
    ngram = load_model(DEMO_MODELS["ngram"])
    assert isinstance(ngram, NgramModel)
    save_ngram(ngram, folder / "served.ngram")
    return {"ngram": folder / "served.ngram", "lstm": DEMO_MODELS["lstm"]}


def model_arguments(paths: dict[str, Path], **settings: int) -> list[str]:
    """What a server is started with."""
    arguments = [part for name, path in paths.items() for part in ("--model", f"{name}={path}")]
    for name, value in settings.items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    return arguments


def run_load_and_faults(plan: Plan) -> Tally:
    """Clients that check every answer, while everything around them goes wrong."""
    tally, seconds = Tally("load"), plan.seconds * 0.3
    paths = models_in(plan.folder)
    cases = Library(paths, plan.seed).cases(CASES_EACH)
    other = plan.folder / "other.arpa"
    other.write_text(OTHER_MODEL)
    with soak_server(plan.folder / "load.log", *model_arguments(paths)) as server:

        async def run() -> None:
            async with (
                proxy_to(server.address) as proxy,
                load.clients_of(server.address, CHANNELS, TIMEOUT_SECONDS) as direct,
                load.clients_of(proxy.address, 2, TIMEOUT_SECONDS) as proxied,
            ):
                few = max(1, plan.clients // 10)
                warm = Tally("warm")
                await load.run_load(
                    direct, cases, warm, tasks=plan.clients, seconds=seconds / 8, seed=plan.seed
                )
                before = server.memory_bytes()
                through = Tally("through the proxy")
                scene = faults.Scene(server.address, "ngram", proxy, paths["ngram"], other, tally)
                async with faults.slow_readers_released(scene):
                    await asyncio.gather(
                        load.run_load(
                            direct,
                            cases,
                            tally,
                            tasks=plan.clients - few,
                            seconds=seconds * 7 / 8,
                            seed=plan.seed + 1,
                        ),
                        load.run_load(
                            proxied,
                            cases,
                            through,
                            tasks=few,
                            seconds=seconds * 7 / 8,
                            seed=plan.seed + 2,
                            allowed=THROUGH_PROXY,
                        ),
                        faults.inject(
                            scene,
                            seconds=seconds * 6 / 8,
                            pause_seconds=seconds / 60,
                            seed=plan.seed,
                        ),
                    )
                tally.memory_bytes = (before, server.memory_bytes())
                overload.take_over(tally, through)
                tally.problems += warm.problems

        asyncio.run(run())
        check_server(server, tally)
    return tally


def run_failures(plan: Plan) -> Tally:
    """Handlers that raise, memory that runs out, a clock that jumps, a disk that is full."""
    tally = Tally("failures")

    async def run() -> None:
        with faults.jumping_clock(tally):
            async with failing_model.failing_server(tally) as address:
                await failing_model.run_failures(
                    address, tally, tasks=32, seconds=plan.seconds * 0.05, seed=plan.seed
                )

    asyncio.run(run())
    folder = plan.folder / "full disk"
    folder.mkdir()
    source = DEMO_MODELS["ngram"]
    faults.convert_on_full_disk(source, folder / "model.ngram", tally, max_bytes=100_000)
    return tally


def run_overload(plan: Plan) -> Tally:
    """Several times as many calls as a server can answer."""
    tally = Tally("overload")
    work = overload_work()
    arguments = model_arguments(
        {"lstm": DEMO_MODELS["lstm"]}, threads=1, max_queued_bytes=work.max_queued_bytes
    )
    with soak_server(plan.folder / "overload.log", *arguments) as server:
        before = server.memory_bytes()
        asyncio.run(overload.run_overload(server.address, work, tally, seconds=plan.seconds * 0.15))
        tally.memory_bytes = (before, server.memory_bytes())
        check_server(server, tally)
    overload.check_overload(tally)
    return tally


def overload_work() -> overload.Work:
    """Texts that keep a network busy: for so long that refusing three others is little work.

    Clients and server share this machine. Three such requests are scored as one, and as many wait.
    """
    model = load_model(DEMO_MODELS["lstm"], placement=Placement("cpu", "float32", threads=1))
    texts = [text for text in Library({}, 0).texts(3000) if len(text) > 50][:240]
    scores = model.score(ScoreBatch(Texts.from_strings(texts)))
    return overload.Work("lstm", texts, scores.log_probs.tolist())


def run_fuzz(plan: Plan) -> Tally:
    """Requests that no client would send."""
    tally = Tally("invalid input")
    arguments = model_arguments(DEMO_MODELS, **fuzz.SETTINGS)
    with soak_server(plan.folder / "fuzz.log", *arguments) as server:

        def send(requests: int, into: Tally) -> None:
            asyncio.run(
                fuzz.run_fuzz(
                    server.address,
                    fuzz.MODELS_ASKED,
                    into,
                    requests=requests,
                    in_flight=64,
                    seed=plan.seed,
                )
            )

        warm = Tally("warm")
        send(500, warm)
        before = server.memory_bytes()
        send(plan.fuzz_requests, tally)
        fuzz.send_what_is_no_call(server.address, tally, plan.seed)
        tally.memory_bytes = (before, server.memory_bytes())
        tally.problems += warm.problems
        check_server(server, tally)
    return tally


def run_failover(plan: Plan) -> Tally:
    """Two servers, of which one or the other is killed."""
    tally = Tally("failover")
    paths = {"ngram": plan.folder / "failover.ngram"}
    shutil.copy(models_in(plan.folder)["ngram"], paths["ngram"])
    cases = Library(paths, plan.seed).cases(CASES_EACH)
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(
                soak_server(plan.folder / f"failover{i}.log", *model_arguments(paths, threads=1))
            )
            for i in range(2)
        )
        asyncio.run(
            failover.run_failover(
                (first, second),
                cases,
                tally,
                tasks=min(plan.clients, 64),
                seconds=plan.seconds * 0.15,
                seed=plan.seed,
            )
        )
        check_server(first, tally, growth=False)
    return tally


def run_deployment(plan: Plan) -> Tally:
    """Workers that are killed, and versions that come and are no good."""
    tally = Tally("deployment")
    repository, copies = plan.folder / "repository", plan.folder / "copies"
    copies.mkdir()
    models = models_in(copies)
    cases = Library(models, plan.seed).cases(CASES_EACH)
    deployment.deploy(repository, models)
    arguments = ["--repository", str(repository), "--threads", "1", *deployment.SETTINGS]
    with soak_server(plan.folder / "deployment.log", *arguments) as server:
        asyncio.run(
            deployment.run_deployment(
                deployment.deployed(server, repository, tally),
                cases,
                tasks=min(plan.clients, 48),
                seconds=plan.seconds * 0.15,
                seed=plan.seed,
            )
        )
        check_server(server, tally, growth=False)
    return tally


PARTS: dict[str, Callable[[Plan], Tally]] = {
    "load": run_load_and_faults,
    "failures": run_failures,
    "overload": run_overload,
    "fuzz": run_fuzz,
    "failover": run_failover,
    "deployment": run_deployment,
}


def check_server(server: SoakServer, tally: Tally, *, growth: bool = True) -> None:
    """See that a server still runs, has found no bug in itself, holds no more memory, and ends."""
    before, after = tally.memory_bytes
    if growth and after - before > MOST_GROWTH_BYTES:
        tally.problem(f"the server's memory grew by {(after - before) >> 20} MiB")
    if not server.alive():
        tally.problem("the server has ended")
        return
    if server.stop() != 0:
        tally.problem("the server did not end as it should")
    for sign in ("internal error", "Traceback"):
        if sign in server.log_text():
            tally.problem(f"the server's log has {sign!r}")
