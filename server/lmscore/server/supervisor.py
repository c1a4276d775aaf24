"""Several processes that serve on one port: started, watched, started again, and stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from prometheus_client import CollectorRegistry

from lmscore.server.backoff import Backoff
from lmscore.server.metrics.gpu import add_gpus
from lmscore.server.metrics_endpoint import metrics_served
from lmscore.server.ports import Sharing, reserved
from lmscore.server.process_metrics import WorkerMetrics
from lmscore.server.settings import Settings
from lmscore.server.shared_metrics import SharedMetrics, environment_for, forget
from lmscore.server.stages import StartError
from lmscore.server.stopping import StopSignals, on_signals, unless
from lmscore.server.worker import Orders
from lmscore.server.worker_process import WorkerProcess, start_worker

KILL_SECONDS = 10.0
"""How much longer than the drain timeout a worker may take to end."""

log = structlog.get_logger()


async def supervise(settings: Settings) -> None:
    """Run the workers until SIGTERM or SIGINT, which they get too; a second one stops at once.

    Raises StartError when the server cannot start.
    """
    with ExitStack() as stack:
        port = stack.enter_context(reserved(settings.listen))
        name = TemporaryDirectory(prefix="lmscore-metrics-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(name))
        host = settings.listen.rpartition(":")[0]
        supervisor = Supervisor(settings.model_copy(update={"listen": f"{host}:{port}"}), folder)
        stack.enter_context(
            metrics_served(
                settings.metrics, lambda: supervisor.registry, lambda: supervisor.serving
            )
        )
        await supervisor.run()


class Supervisor:
    """Keeps the workers of one server running until it is told to stop."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self._settings = settings
        self._folder = folder  # of the metrics
        self._workers: dict[int, WorkerProcess] = {}  # that run
        self._stopping = asyncio.Event()
        self._announced = False
        self._metrics = WorkerMetrics(
            self.registry, settings.processes, self._pids, lambda: len(self._serving())
        )
        self.registry.register(SharedMetrics(folder))
        add_gpus(self.registry)

    @property
    def serving(self) -> bool:
        """Whether any worker answers calls."""
        return bool(self._serving()) and not self._stopping.is_set()

    async def run(self) -> None:
        """Start the workers and keep them. Raises StartError when one cannot start at first."""
        signals = on_signals()
        _advise(self._settings)
        keepers = {
            asyncio.create_task(self._keep(index)) for index in range(self._settings.processes)
        }
        failed = asyncio.wait(keepers, return_when=asyncio.FIRST_COMPLETED)
        await unless(signals.first, failed)
        await self._stop(keepers, signals)
        failures = [keeper.exception() for keeper in keepers]  # several may fail at once
        for failure in filter(None, failures):
            raise failure
        log.info("stopped")

    async def _keep(self, index: int) -> None:
        backoff, sharing = Backoff(), Sharing.AT_ONCE
        while not self._stopping.is_set():
            delay_seconds = await self._run_once(index, sharing, backoff)
            # While others answer, callers need not meet one that is loading.
            sharing = Sharing.WHEN_LOADED
            if await unless(self._stopping, asyncio.sleep(delay_seconds)):
                self._metrics.restarts.labels(str(index)).inc()

    async def _run_once(self, index: int, sharing: Sharing, backoff: Backoff) -> float:
        """Run a worker until it has ended; the seconds to wait before the next."""
        is_first = sharing is Sharing.AT_ONCE
        try:
            orders = Orders(index, _settings_of(index, self._settings), sharing)
            worker = await start_worker(orders, self._environment())
        except OSError as error:
            if is_first:
                raise StartError(f"cannot start a process: {error.strerror}") from None
            delay_seconds = backoff.delay_seconds(0)
            log.error("cannot start worker", worker=index, problem=error.strerror)
            return delay_seconds
        reason = await self._watch(index, worker)
        if self._stopping.is_set():
            return 0
        if is_first and worker.problem is not None:
            raise StartError(worker.problem)
        if is_first and not worker.served_seconds and reason.startswith("exit"):
            raise StartError(f"worker {index} ended before it could serve: {reason}")
        delay_seconds = backoff.delay_seconds(worker.served_seconds)
        log.warning(
            "worker ended",
            worker=index,
            pid=worker.pid,
            reason=worker.problem or reason,
            restart_in_seconds=round(delay_seconds, 2),
        )
        return delay_seconds

    async def _watch(self, index: int, worker: WorkerProcess) -> str:
        self._workers[index] = worker
        log.info("worker started", worker=index, pid=worker.pid)
        if self._stopping.is_set():  # since it was ordered
            worker.signal(signal.SIGTERM)
        try:
            return await worker.ended(self._announce)
        finally:
            del self._workers[index]
            forget(self._folder, str(index))

    def _announce(self) -> None:
        """Say once that all are ready."""
        if self._announced or len(self._serving()) < self._settings.processes:
            return
        self._announced = True
        models = [source.name for source in self._settings.model]
        address, processes = self._settings.listen, self._settings.processes
        # What a repository has, each worker says for itself as it loads it.
        followed = {"repository": self._settings.repository} if self._settings.repository else {}
        log.info("ready", address=address, models=models, processes=processes, **followed)

    async def _stop(self, keepers: set[asyncio.Task[None]], signals: StopSignals) -> None:
        """Have the workers drain, hurry after a second signal, and kill those that go on."""
        self._stopping.set()
        log.info("stopping", running_workers=len(self._workers))
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._settings.drain_timeout_seconds + KILL_SECONDS):
                if not await unless(signals.second, asyncio.wait(keepers)):
                    self._signal(signal.SIGTERM)
                    await asyncio.wait_for(asyncio.wait(keepers), KILL_SECONDS)
        except TimeoutError:
            log.warning("killing workers that do not end", running_workers=len(self._workers))
            self._signal(signal.SIGKILL)
            await asyncio.wait(keepers)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            worker.signal(number)

    def _environment(self) -> Mapping[str, str]:
        return environment_for(self._folder) if self._settings.metrics else {}

    def _serving(self) -> list[WorkerProcess]:
        return [worker for worker in list(self._workers.values()) if worker.serving]

    def _pids(self) -> dict[str, int]:
        return {str(index): worker.pid for index, worker in list(self._workers.items())}


def _settings_of(index: int, settings: Settings) -> Settings:
    """What one worker is told: the first alone has the address of the operators.

    Any could, as all that they change is in the repository's files, which every worker follows.
    """
    return settings if index == 0 else settings.model_copy(update={"admin": ""})


def _advise(settings: Settings) -> None:
    for source in settings.model:
        if ".arpa" in source.path.name:
            log.warning(
                "every process reads this file and keeps a copy of its own; "
                "lmscore-convert makes a .ngram file of it that they share",
                model=source.name,
                path=str(source.path),
            )
