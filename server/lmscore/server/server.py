"""A server: opened, loaded, drained, stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import grpc
import structlog
from grpc_health.v1 import health, health_pb2

from lmscore.models.network.placement import Placement
from lmscore.server.generation.generator import Generator
from lmscore.server.interceptor import CallInterceptor
from lmscore.server.listening import listen
from lmscore.server.model_loading import load
from lmscore.server.observability import Observability
from lmscore.server.ports import Sharing
from lmscore.server.repository import ModelRepository
from lmscore.server.rollout.building import AdminServer
from lmscore.server.rollout.follower import Follower
from lmscore.server.scheduling.scheduler import Scheduler
from lmscore.server.settings import Settings
from lmscore.v1 import language_model_service_pb2, model_service_pb2

SERVICES = (
    language_model_service_pb2.DESCRIPTOR.services_by_name["LanguageModelService"].full_name,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
)

ENDING_SECONDS = 5.0
"""How long calls that the drain timeout ends may take to end."""

Result = TypeVar("Result")

log = structlog.get_logger()


@dataclass
class Server:
    """What a server needs to serve and to stop; `building.build` makes one."""

    settings: Settings
    placement: Placement  # of networks
    grpc_server: grpc.aio.Server
    port: int
    repository: ModelRepository
    scheduler: Scheduler
    generator: Generator
    calls: CallInterceptor
    health: health.aio.HealthServicer
    credentials: grpc.ServerCredentials | None  # of TLS, if there is some
    follower: Follower | None  # of the repository, if there is one
    admin: AdminServer | None  # if there is an address for it
    observability: Observability

    @property
    def address(self) -> str:
        """Host and the port that was really taken."""
        return f"{self.settings.listen.rpartition(':')[0]}:{self.port}"

    async def open(self) -> None:
        """Take calls from now on. Raises StartError if the port cannot be had any more.

        Calls to models are told to wait until those are loaded.
        """
        if not self.port:
            self.port = listen(
                self.credentials, Sharing.WHEN_LOADED, self.grpc_server, self.settings.listen
            )
        await self.grpc_server.start()
        admin = {}
        if self.admin is not None:
            await self.admin.grpc_server.start()
            admin = {"admin": self.admin.address}
        log.info("listening", address=self.address, tls=self.credentials is not None, **admin)

    async def load_models(self) -> None:
        """Load every model of the settings, each answering as soon as it can. Raises ModelError."""
        for source in self.settings.model:
            copy = self.settings.load == "copy"
            work = partial(load, source, self.placement, copy=copy)
            loading = _on_daemon_thread(work)
            self.repository.add(await self.observability.loading(source.name, loading))
            await self.health.set(source.name, health_pb2.HealthCheckResponse.SERVING)
        if self.follower is not None:
            await self.follower.start()
        for service in ("", *SERVICES):
            await self.health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Say NOT_SERVING, refuse new calls, and wait for those that run, up to the timeout."""
        log.info("draining", running_calls=self.calls.running)
        self.calls.refuse()  # before anybody is told: whoever knows of it finds it so
        await self.health.enter_graceful_shutdown()
        try:
            await asyncio.wait_for(self.calls.drain(), self.settings.drain_timeout_seconds)
        except TimeoutError:
            log.warning("drain timeout: ending what still runs", calls=self.calls.running)
            with suppress(TimeoutError):  # a call that cannot be ended goes when the port closes
                await asyncio.wait_for(self.calls.expire(), ENDING_SECONDS)

    async def stop(self) -> None:
        """Cancel what still runs and close the port."""
        if self.follower is not None:
            self.follower.close()
        if self.admin is not None:
            await self.admin.grpc_server.stop(grace=None)
        await self.grpc_server.stop(grace=None)
        self.generator.close()
        await asyncio.to_thread(self.scheduler.close)
        await self.observability.close()
        log.info("stopped")


async def _on_daemon_thread(work: Callable[[], Result]) -> Result:
    """What work gives; a thread that nothing waits for when the process is told to end."""
    done: Future[Result] = Future()

    def run() -> None:
        done.set_running_or_notify_cancel()  # from now on, whoever waits can only leave
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            done.set_exception(error)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await asyncio.wrap_future(done)
