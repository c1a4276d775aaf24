"""What a client that waits for models still waits for."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import StatusCode

from lmscore.client.errors import DeadlineExceededError
from lmscore.client.requests import name_of
from lmscore.client.results import ModelInfo

POLL_SECONDS = 0.1


def awaited(models: Sequence[ModelInfo], name: str) -> str:
    """What is missing until the model of that name, or every one if it is empty, answers.

    Empty if nothing is. One ready version of a model is enough.
    """
    if not name:
        names = sorted({model.identity.name for model in models})
        missing = [found for each in names if (found := _missing(models, each))]
        return missing[0] if missing else "" if models else "it has no models"
    if not any(model.identity.name == name_of(name) for model in models):
        return f"it has no model {name_of(name)}"
    return _missing(models, name_of(name)) or _not_loaded(models, name_of(name))


def _missing(models: Sequence[ModelInfo], name: str) -> str:
    """What a model lacks that is going to answer, or should; empty if it answers or is unloaded."""
    states = {model.state: model for model in models if model.identity.name == name}
    if "ready" in states or states.keys() <= {"unloaded", "unloading"}:
        return ""
    if "loading" in states:
        return f"still loading: {name}"
    problems = [model.problem for model in states.values() if model.problem]
    return f"{name} cannot be loaded: {problems[0] if problems else 'unknown'}"


def _not_loaded(models: Sequence[ModelInfo], name: str) -> str:
    ready = any(model.ready for model in models if model.identity.name == name)
    return "" if ready else f"not loaded: {name}"


def not_ready(address: str, seconds: float, missing: str) -> DeadlineExceededError:
    """The error for a wait that took too long."""
    return DeadlineExceededError(
        f"{address} was not ready within {seconds:g} s: {missing}",
        code=StatusCode.DEADLINE_EXCEEDED,
    )
