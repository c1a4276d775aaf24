"""The server's life: build, serve, load, drain, stop."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from lmscore.models.decoding.batch import warm_up
from lmscore.models.errors import CapabilityError
from lmscore.models.language_model import NetworkDescription
from lmscore.models.loading import fingerprint, load_model
from lmscore.models.network.placement import Placement
from lmscore.server.convert.generate import GenerationLimits
from lmscore.server.convert.items import Limits
from lmscore.server.generation.generator import GenerationSettings, Generator
from lmscore.server.interceptor import CallInterceptor
from lmscore.server.repository import ModelRepository, ServedModel
from lmscore.server.scheduler import Scheduler
from lmscore.server.security.files import UnusableFileError
from lmscore.server.security.guarding import access_of, credentials_of, exposures
from lmscore.server.service import LanguageModelService, ModelService
from lmscore.server.settings import ModelSource, Settings
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

ENDING_SECONDS = 5.0
"""How long calls that the drain timeout ends may take to end."""

Result = TypeVar("Result")

log = structlog.get_logger()


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


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


def load(source: ModelSource, placement: Placement, version: int = 1) -> ServedModel:
    """Read a model. Raises ModelError."""
    # The first load on a machine also compiles the kernels, which takes some twenty seconds.
    log.info("loading model", model=source.name, path=str(source.path))
    started = time.perf_counter()
    model = load_model(source.path, placement=placement)
    with suppress(CapabilityError):  # a model that can only score has nothing to compile for
        warm_up(model)
    served = ServedModel(source.name, version, fingerprint(source.path), model)
    structure = model.description.structure
    if isinstance(structure, NetworkDescription):
        place = {"device": structure.device, "dtype": structure.dtype}
    else:
        place = {}
    log.info(
        "model loaded",
        model=source.name,
        path=str(source.path),
        seconds=round(time.perf_counter() - started, 2),
        kind=model.description.kind,
        vocabulary=model.description.vocabulary_size,
        **place,
    )
    return served


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

    @property
    def address(self) -> str:
        """Host and the port that was really taken."""
        return f"{self.settings.listen.rpartition(':')[0]}:{self.port}"

    async def load_models(self) -> None:
        """Load every model of the settings, each answering as soon as it can. Raises ModelError."""
        for source in self.settings.model:
            self.repository.add(await _on_daemon_thread(partial(load, source, self.placement)))
            await self.health.set(source.name, health_pb2.HealthCheckResponse.SERVING)
        for service in ("", *SERVICES):
            await self.health.set(service, health_pb2.HealthCheckResponse.SERVING)
        log.info("ready", address=self.address, models=[m.name for m in self.settings.model])

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
        await self.grpc_server.stop(grace=None)
        self.generator.close()
        await asyncio.to_thread(self.scheduler.close)
        log.info("stopped")


async def build(settings: Settings) -> Server:
    """A server that listens and knows its models' names, but has loaded none. Raises StartError."""
    placement = placement_of(settings)
    try:
        credentials, access = credentials_of(settings), access_of(settings)
    except UnusableFileError as error:
        raise StartError(str(error)) from None
    calls = CallInterceptor(access)
    grpc_server = grpc.aio.server(
        interceptors=[calls],
        options=[
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            # Two servers on one port would each get some of the calls; an error is better.
            ("grpc.so_reuseport", 0),
            # Clients keep idle connections alive with pings; gRPC would take them for an attack.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    repository = ModelRepository()
    scheduler = Scheduler(settings.threads, settings.max_queued_bytes, settings.max_batch_tokens)
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
            repository, scheduler, generator, limits, _generation_limits(settings), stream_window
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
    for service in ("", *SERVICES, *(source.name for source in settings.model)):
        await health_servicer.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    port = _listen(grpc_server, settings.listen, credentials)
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
    )


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
    grpc_server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None
) -> int:
    host, _, port = address.rpartition(":")
    address = address if host else f"[::]{address}"
    try:
        # gRPC says only that it failed; the system says why.
        [(family, kind, _, _, place), *_] = socket.getaddrinfo(
            host.strip("[]") or "::", int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
        if credentials is not None:
            return grpc_server.add_secure_port(address, credentials)
        return grpc_server.add_insecure_port(address)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartError(f"cannot listen on {address}: {reason}") from None


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain; a second signal stops at once.

    Raises StartError or ModelError when the server cannot start.
    """
    server = await build(settings)
    stopping = _on_signals()
    await server.grpc_server.start()
    log.info("listening", address=server.address, tls=settings.tls_certificate is not None)
    for exposure in exposures(settings):
        log.warning("exposed", listen=settings.listen, problem=exposure)
    try:
        if await _unless(stopping.first, server.load_models()):
            await stopping.first.wait()
        await _unless(stopping.second, server.drain())
    finally:
        await server.stop()


@dataclass(frozen=True)
class _Signals:
    first: asyncio.Event
    second: asyncio.Event


def _on_signals() -> _Signals:
    signals = _Signals(asyncio.Event(), asyncio.Event())

    def received() -> None:
        (signals.second if signals.first.is_set() else signals.first).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received)
    return signals


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, or give it up when the event comes; tells whether it was done."""
    task = asyncio.create_task(work)
    waiter = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if task.done():
        await task  # raises what it raised
        return True
    task.cancel()
    await asyncio.wait({task})
    return False
