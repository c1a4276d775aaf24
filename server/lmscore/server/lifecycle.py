"""The server's life: build, serve, load, drain, stop."""

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
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from lmscore.models.errors import CapabilityError
from lmscore.models.network.placement import Placement
from lmscore.server.admission import Admission
from lmscore.server.convert.generate import GenerationLimits
from lmscore.server.convert.items import Limits
from lmscore.server.generation.generator import GenerationSettings, Generator
from lmscore.server.interceptor import CallInterceptor
from lmscore.server.model_loading import load
from lmscore.server.observability import Observability, observability_of
from lmscore.server.ports import Sharing, cannot_listen, check_free
from lmscore.server.repository import ModelRepository
from lmscore.server.rollout.building import AdminServer, build_admin_server, build_follower
from lmscore.server.rollout.follower import Follower
from lmscore.server.scheduling.load import QueueLimits
from lmscore.server.scheduling.observer import WorkObserver
from lmscore.server.scheduling.scheduler import Scheduler
from lmscore.server.scheduling.workers import Batching
from lmscore.server.security.files import UnusableFileError
from lmscore.server.security.guarding import access_of, credentials_of
from lmscore.server.service import LanguageModelService, ModelService
from lmscore.server.settings import Settings
from lmscore.server.stages import Stage, StartError
from lmscore.server.stopping import on_signals, unless
from lmscore.server.stream_window import StreamWindow
from lmscore.v1 import (
    language_model_service_pb2,
    language_model_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)

SERVICES = (
    language_model_service_pb2.DESCRIPTOR.services_by_name["LanguageModelService"].full_name,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
)

LIVENESS = "liveness"
"""Name under which health is SERVING as long as the process can answer, whatever its models do."""

ENDING_SECONDS = 5.0
"""How long calls that the drain timeout ends may take to end."""

Result = TypeVar("Result")

log = structlog.get_logger()


def placement_of(settings: Settings) -> Placement:
    """Where networks compute. Raises StartError for a device that is asked for and not there."""
    placement = Placement(
        settings.device, settings.dtype, settings.threads, settings.max_batch_tokens
    )
    if settings.device.startswith("cuda"):
        try:
            placement.torch_device()
        except CapabilityError as error:
            raise StartError(f"{error}; --device cpu computes without") from None
        except ModuleNotFoundError as error:
            needs = f"device {settings.device} needs {error.name}: pip install 'lmscore[server]'"
            raise StartError(needs) from None
    return placement


@dataclass
class Server:
    """A server that listens, with what it needs to serve and to stop."""

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
            self.port = _listen(
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


async def build(
    settings: Settings, sharing: Sharing = Sharing.NONE, observability: Observability | None = None
) -> Server:
    """A server that has its port and knows its models' names, but has loaded none.

    Raises StartError. With Sharing.WHEN_LOADED, it takes the port only when it opens. It
    is watched as the settings say, unless it is given who watches it.
    """
    placement = placement_of(settings)
    try:
        credentials, access = credentials_of(settings), access_of(settings, settings.processes)
    except UnusableFileError as error:
        raise StartError(str(error)) from None
    observability = observability or observability_of(settings)
    observer = observability.observer
    admission = Admission(settings.max_concurrent_calls, settings.max_inflight_bytes, observer)
    calls = CallInterceptor(access, admission, observability.watchers)
    grpc_server = grpc.aio.server(
        interceptors=[calls],
        options=[
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.max_concurrent_streams", settings.max_concurrent_streams_per_connection),
            # Two servers on one port would each get some of the calls; an error is better,
            # unless they are the processes of one.
            ("grpc.so_reuseport", int(sharing is not Sharing.NONE)),
            # Clients keep idle connections alive with pings; gRPC would take them for an attack.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    repository = ModelRepository()
    scheduler = _scheduler(settings, observer)
    limits = Limits(
        settings.max_texts,
        settings.max_text_bytes,
        settings.max_distributions,
        settings.max_alternatives,
        settings.max_weights,
        settings.max_message_bytes,
    )
    generator = _generator(scheduler, settings)
    stream_window = partial(StreamWindow, settings.max_stream_requests, settings.max_stream_bytes)
    language_model_service_pb2_grpc.add_LanguageModelServiceServicer_to_server(
        LanguageModelService(
            repository,
            scheduler,
            generator,
            limits,
            _generation_limits(settings),
            stream_window,
            observability.observer,
        ),
        grpc_server,
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(repository), grpc_server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, grpc_server)
    if settings.reflection == "on":
        reflection.enable_server_reflection(
            (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), grpc_server
        )
    for source in settings.model:
        repository.announce(source.name)
    await health_servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
    for service in ("", *SERVICES, *(source.name for source in settings.model)):
        await health_servicer.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    follower = build_follower(
        settings, placement, repository, generator.retire, health_servicer, observer
    )
    listen = partial(_listen, credentials)
    admin = build_admin_server(settings, calls, repository, follower, partial(listen, Sharing.NONE))
    late = sharing is Sharing.WHEN_LOADED
    port = 0 if late else listen(sharing, grpc_server, settings.listen)
    observability.start(repository, generator)
    return Server(
        settings,
        placement,
        grpc_server,
        port,
        repository,
        scheduler,
        generator,
        calls,
        health_servicer,
        credentials,
        follower,
        admin,
        observability,
    )


def _scheduler(settings: Settings, observer: WorkObserver) -> Scheduler:
    limits = QueueLimits(
        settings.max_queued_requests, settings.max_queued_tokens, settings.max_queued_bytes
    )
    batching = Batching(
        settings.max_batch_tokens, settings.max_batch_requests, settings.max_batch_delay_seconds
    )
    return Scheduler(settings.threads, limits, batching, observer)


def _generator(scheduler: Scheduler, settings: Settings) -> Generator:
    own = GenerationSettings(
        settings.max_sequences,
        settings.max_waiting_generations,
        settings.max_prefill_tokens,
        settings.max_unwritten_tokens,
        settings.message_interval_seconds,
    )
    return Generator(scheduler, own)


def _generation_limits(settings: Settings) -> GenerationLimits:
    return GenerationLimits(
        min(settings.max_num_sequences, settings.max_sequences),
        min(settings.max_beam_width, settings.max_sequences),
        settings.max_generated_tokens,
        settings.max_stop_bytes,
        settings.max_listed_tokens,
    )


async def _on_daemon_thread(work: Callable[[], Result]) -> Result:
    """What work gives; a thread that nothing waits for when the process is told to end."""
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            done.set_exception(error)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await asyncio.wrap_future(done)


def _listen(
    credentials: grpc.ServerCredentials | None,
    sharing: Sharing,
    grpc_server: grpc.aio.Server,
    address: str,
) -> int:
    address = f"[::]{address}" if address.startswith(":") else address
    if sharing is Sharing.NONE:
        check_free(address)
    try:
        if credentials is not None:
            return grpc_server.add_secure_port(address, credentials)
        return grpc_server.add_insecure_port(address)
    except RuntimeError as error:
        raise cannot_listen(address, error) from None


async def serve(
    settings: Settings,
    sharing: Sharing = Sharing.NONE,
    tell: Callable[[Stage], object] = lambda _: None,
    observability: Observability | None = None,
) -> None:
    """Run until SIGTERM or SIGINT, then drain; a second signal stops at once.

    Whoever wants to know is told every stage; it is watched as for build. Raises StartError or
    ModelError when the server cannot start.
    """
    server = await build(settings, sharing, observability)
    stopping = on_signals()
    if sharing is not Sharing.WHEN_LOADED:
        await server.open()
    try:
        if await unless(stopping.first, server.load_models()):
            if sharing is Sharing.WHEN_LOADED:
                await server.open()
            tell(Stage.SERVING)
            if sharing is Sharing.NONE:  # otherwise it is for the supervisor to say
                log.info("ready", address=server.address, models=server.repository.names())
            await stopping.first.wait()
        tell(Stage.DRAINING)
        await unless(stopping.second, server.drain())
    finally:
        await server.stop()
