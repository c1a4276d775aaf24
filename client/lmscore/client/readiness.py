"""What a client that waits for models still waits for."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import StatusCode

from lmscore.client.errors import DeadlineExceededError
from lmscore.client.results import ModelInfo

POLL_SECONDS = 0.1


def awaited(models: Sequence[ModelInfo], name: str) -> str:
    """What is missing until the model of that name, or every one if it is empty, answers.

    Empty if nothing is. One ready version of a model is enough.
    """
    if not name:
        loading = sorted({model.identity.name for model in models if not model.ready})
        if loading:
            return f"still loading: {', '.join(loading)}"
        return "" if models else "it has no models"
    states = [model.ready for model in models if model.identity.name == name]
    if not states:
        return f"it has no model {name}"
    return "" if any(states) else f"still loading: {name}"


def not_ready(address: str, seconds: float, missing: str) -> DeadlineExceededError:
    """The error for a wait that took too long."""
    return DeadlineExceededError(
        f"{address} was not ready within {seconds:g} s: {missing}",
        code=StatusCode.DEADLINE_EXCEEDED,
    )
