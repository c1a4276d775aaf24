"""Makes a server from its settings: every part, and who knows whom."""

from __future__ import annotations

from functools import partial

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from lmscore.server.admission import Admission
from lmscore.server.convert.generate import GenerationLimits
from lmscore.server.convert.items import Limits
from lmscore.server.generation.generator import GenerationSettings, Generator
from lmscore.server.grpc_server import add_language_models, new_grpc_server
from lmscore.server.interceptor import CallInterceptor
from lmscore.server.listening import listen
from lmscore.server.model_loading import placement_of
from lmscore.server.observability import Observability, observability_of
from lmscore.server.ports import Sharing
from lmscore.server.repository import ModelRepository
from lmscore.server.rollout.building import build_admin_server, build_follower
from lmscore.server.scheduling.load import QueueLimits
from lmscore.server.scheduling.observer import WorkObserver
from lmscore.server.scheduling.scheduler import Scheduler
from lmscore.server.scheduling.workers import Batching
from lmscore.server.security.files import UnusableFileError
from lmscore.server.security.guarding import access_of, credentials_of
from lmscore.server.server import SERVICES, Server
from lmscore.server.service import LanguageModelService, ModelService
from lmscore.server.settings import Settings
from lmscore.server.stages import StartError
from lmscore.server.stream_window import StreamWindow
from lmscore.v1 import model_service_pb2_grpc

LIVENESS = "liveness"
"""Name under which health is SERVING as long as the process can answer, whatever its models do."""


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
    grpc_server = _grpc_server(settings, calls, sharing)
    repository = ModelRepository()
    scheduler = _scheduler(settings, observer)
    generator = _generator(scheduler, settings)
    service = LanguageModelService(
        repository,
        scheduler,
        generator,
        _limits(settings),
        _generation_limits(settings),
        partial(StreamWindow, settings.max_stream_requests, settings.max_stream_bytes),
        observer,
    )
    add_language_models(service, grpc_server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(repository), grpc_server)
    health_servicer = await _health(settings, grpc_server)
    for source in settings.model:
        repository.announce(source.name)
    follower = build_follower(
        settings, placement, repository, generator.retire, health_servicer, observer
    )
    take_port = partial(listen, credentials)
    admin = build_admin_server(
        settings, calls, repository, follower, partial(take_port, Sharing.NONE)
    )
    late = sharing is Sharing.WHEN_LOADED
    port = 0 if late else take_port(sharing, grpc_server, settings.listen)
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


def _grpc_server(settings: Settings, calls: CallInterceptor, sharing: Sharing) -> grpc.aio.Server:
    return new_grpc_server(
        calls,
        [
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


async def _health(settings: Settings, grpc_server: grpc.aio.Server) -> health.aio.HealthServicer:
    """Health, which says that nothing is loaded yet, and reflection if it is asked for."""
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, grpc_server)
    if settings.reflection == "on":
        reflection.enable_server_reflection(
            (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), grpc_server
        )
    await health_servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
    for service in ("", *SERVICES, *(source.name for source in settings.model)):
        await health_servicer.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    return health_servicer


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.max_texts,
        settings.max_text_bytes,
        settings.max_distributions,
        settings.max_alternatives,
        settings.max_weights,
        settings.max_message_bytes,
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
