"""What serves a repository and its operator, made from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection

from lmscore.models.language_model import LanguageModel
from lmscore.models.network.placement import Placement
from lmscore.server.grpc_server import new_grpc_server
from lmscore.server.interceptor import CallInterceptor
from lmscore.server.model_source import ModelSource
from lmscore.server.observer import Observer
from lmscore.server.repository import ModelRepository
from lmscore.server.rollout.admin import Administration
from lmscore.server.rollout.follower import Follower, FollowerSettings
from lmscore.server.rollout.layout import scan
from lmscore.server.rollout.watcher import Watcher
from lmscore.server.service import ModelService
from lmscore.server.settings import Settings
from lmscore.server.stages import StartError
from lmscore.v1 import model_service_pb2, model_service_pb2_grpc

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AdminServer:
    """A server of its own, so that an address can be kept from those who only ask for scores."""

    grpc_server: grpc.aio.Server
    address: str  # host and the port that was really taken


def build_follower(
    settings: Settings,
    placement: Placement,
    repository: ModelRepository,
    retired: Callable[[LanguageModel[Any]], None],
    health_servicer: health.aio.HealthServicer,
    observer: Observer,
) -> Follower | None:
    """What follows the repository; None if there is none. Raises StartError."""
    if not settings.repository:
        return None
    root = Path(settings.repository)
    if not root.is_dir():
        raise StartError(f"repository {root}: no such folder")
    names = frozenset(source.name for source in settings.model)
    for name in sorted(names):
        if (root / name).is_dir():
            raise StartError(f"model {name} is in --model and in the repository; rename one")

    async def tell_health(name: str, serves: bool | None) -> None:
        if serves is None:
            status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        elif serves:
            status = health_pb2.HealthCheckResponse.SERVING
        else:
            status = health_pb2.HealthCheckResponse.NOT_SERVING
        await health_servicer.set(name, status)

    watcher = Watcher(root, settings.repository_poll_seconds, names)
    following = FollowerSettings(
        settings.repository_poll_seconds, settings.keep_versions, settings.load == "copy"
    )
    return Follower(watcher, following, placement, repository, retired, tell_health, observer)


def newest_versions(settings: Settings) -> list[ModelSource]:
    """What is to be loaded first of a repository, for whoever only tries it.

    Raises StartError; also if there is nothing to try at all.
    """
    if not settings.repository:
        return []
    try:
        found = scan(Path(settings.repository))
    except OSError as error:
        raise StartError(f"repository {settings.repository}: {error.strerror}") from None
    for problem in found.problems:
        log.warning("repository problem", problem=problem)
    newest = {name: max(m.versions) for name, m in found.models.items() if m.versions}
    sources = []
    for name, version in newest.items():
        each = found.models[name].versions[version]
        if each.problem:
            raise StartError(f"{each.folder}: {each.problem}")
        sources.append(ModelSource(name=name, path=each.path))
    if not sources and not settings.model:
        raise StartError(f"repository {settings.repository}: there is no model in it")
    return sources


def build_admin_server(
    settings: Settings,
    calls: CallInterceptor,
    repository: ModelRepository,
    follower: Follower | None,
    listen: Callable[[grpc.aio.Server, str], int],
) -> AdminServer | None:
    """A server with the calls of operators; None if there is no address for it.

    Its calls count among those that a drain waits for. Whoever reaches it may use it.
    """
    if not settings.admin:
        return None
    grpc_server = new_grpc_server(calls, [("grpc.so_reuseport", 0)])
    service = ModelService(repository, Administration(follower))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, grpc_server)
    name = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
    reflection.enable_server_reflection((name, reflection.SERVICE_NAME), grpc_server)
    port = listen(grpc_server, settings.admin)
    return AdminServer(grpc_server, f"{settings.admin.rpartition(':')[0]}:{port}")
