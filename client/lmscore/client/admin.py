"""What operators ask of a server's admin address."""

from __future__ import annotations

from lmscore.client.client import Client
from lmscore.client.convert import model_service
from lmscore.client.results import ModelInfo


class AdminClient(Client):
    """A Client of a server's admin address, which also changes what the server has loaded."""

    def load_model(self, name: str, version: int, *, timeout: float | None = None) -> ModelInfo:
        """Load a version of the repository, and keep it loaded; returns when it answers."""
        request = model_service.load_model_request(name, version)
        return model_service.model_info(self._call(self._models.LoadModel, request, timeout).model)

    def unload_model(
        self, name: str, version: int, *, force: bool = False, timeout: float | None = None
    ) -> ModelInfo:
        """Take a version out of service; returns when no new call gets it.

        One that a label names, or without which no version answers, only goes by force.
        """
        request = model_service.unload_model_request(name, version, force=force)
        return model_service.model_info(
            self._call(self._models.UnloadModel, request, timeout).model
        )

    def set_label(
        self, name: str, label: str, version: int | None, *, timeout: float | None = None
    ) -> ModelInfo | None:
        """Let a label name a version, or none any more; returns when calls see it."""
        request = model_service.set_label_request(name, label, version)
        response = self._call(self._models.SetLabel, request, timeout)
        return model_service.model_info(response.model) if response.HasField("model") else None
