"""Which model a client asks for, and which ones it waits for."""

from __future__ import annotations

from typing import Any

import pytest

from lmscore.client.convert.checking import selector
from lmscore.client.errors import InvalidArgumentError
from lmscore.client.readiness import awaited
from lmscore.client.requests import ModelChoice
from lmscore.client.results import ModelIdentity, ModelInfo, ScoringContract
from lmscore.v1.common_pb2 import ModelSelector


@pytest.mark.parametrize(
    ("default", "choice", "selected"),
    [
        ("news", {}, ModelSelector(name="news")),
        ("news", {"version": 3}, ModelSelector(name="news", version=3)),
        ("news", {"label": "stable"}, ModelSelector(name="news", label="stable")),
        ("news:3", {}, ModelSelector(name="news", version=3)),
        ("news@stable", {}, ModelSelector(name="news", label="stable")),
        ("news@stable", {"version": 3}, ModelSelector(name="news", version=3)),
        ("news@stable", {"model": "other"}, ModelSelector(name="other")),
        ("", {"model": "other:2"}, ModelSelector(name="other", version=2)),
    ],
)
def test_a_model_is_chosen_by_name_version_or_label(
    default: str, choice: ModelChoice, selected: ModelSelector
) -> None:
    assert selector(default, choice) == selected


def test_what_follows_a_colon_is_a_number() -> None:
    with pytest.raises(InvalidArgumentError, match=r"model\.version"):
        selector("news:latest", {})


def version_of(name: str, state: str, problem: str = "") -> ModelInfo:
    contract = ScoringContract("", "", "", has_unknown=False, unknown_log_prob=0.0)
    numbers: dict[str, Any] = dict.fromkeys(("vocabulary_size", "parameter_count", "memory_bytes"))
    return ModelInfo(
        ModelIdentity(name, 1, ""),
        kind="ngram",
        state=state,
        tokenizer="words",
        scoring_contract=contract,
        problem=problem,
        **numbers,
    )


@pytest.mark.parametrize(
    ("states", "name", "missing"),
    [
        ([], "", "it has no models"),
        (["ready"], "", ""),
        (["ready", "loading"], "", ""),
        (["ready", "failed", "unloaded"], "", ""),
        (["loading", "failed"], "", "still loading: m"),
        (["failed"], "", "m cannot be loaded: damaged"),
        (["unloaded"], "", ""),
        (["unloaded"], "m", "not loaded: m"),
        (["ready"], "m@stable", ""),
        (["ready"], "other", "it has no model other"),
    ],
)
def test_a_client_waits_for_models_that_are_going_to_answer(
    states: list[str], name: str, missing: str
) -> None:
    models = [version_of("m", state, "damaged" * (state == "failed")) for state in states]
    assert awaited(models, name) == missing
