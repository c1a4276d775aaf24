"""A server's life: build, open, load, drain, stop."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from lmscore.server.building import build
from lmscore.server.observability import Observability
from lmscore.server.ports import Sharing
from lmscore.server.settings import Settings
from lmscore.server.stages import Stage
from lmscore.server.stopping import on_signals, unless

log = structlog.get_logger()


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
