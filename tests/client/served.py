"""A real server with several models, for clients that wait."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lmscore.server.model_source import ModelSource
from lmscore.server.settings import Settings
from tests.server.harness import running_on_a_thread


def served(models: dict[str, Path], **overrides: Any) -> AbstractContextManager[str]:
    """The address of a server with these models."""
    sources = tuple(ModelSource(name=name, path=path) for name, path in models.items())
    given = {"model": sources, "listen": "127.0.0.1:0", "request_log_rate": 0, **overrides}
    return running_on_a_thread(Settings(**given))
