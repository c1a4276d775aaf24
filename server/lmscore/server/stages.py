"""How far a server has come, for those who watch it; or why it comes no further."""

from __future__ import annotations

from enum import Enum


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


class Stage(Enum):
    """What a server does at the moment."""

    LOADING = "loading"
    SERVING = "serving"
    DRAINING = "draining"


class CurrentStage:
    """Remembers what it was told last; may be read from any thread."""

    def __init__(self) -> None:
        self._stage = Stage.LOADING

    def tell(self, stage: Stage) -> None:
        """Change it."""
        self._stage = stage

    @property
    def serving(self) -> bool:
        """Whether calls are answered."""
        return self._stage is Stage.SERVING
