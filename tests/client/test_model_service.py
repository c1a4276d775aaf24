"""Messages of ModelService: what operators ask for, and what a server says of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from lmscore.client.convert.model_service import (
    load_model_request,
    model_info,
    set_label_request,
    unload_model_request,
)
from lmscore.client.errors import InvalidArgumentError
from lmscore.client.results import DetectionThresholds, NetworkInfo, NgramInfo
from lmscore.v1 import model_service_pb2 as wire

LARGEST = 2**64 - 1


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (load_model_request("m", LARGEST), wire.LoadModelRequest(name="m", version=LARGEST)),
        (
            unload_model_request("m", LARGEST, force=True),
            wire.UnloadModelRequest(name="m", version=LARGEST, force=True),
        ),
        (
            unload_model_request("m", 2, force=False),
            wire.UnloadModelRequest(name="m", version=2, force=False),
        ),
        (
            set_label_request("m", "stable", LARGEST),
            wire.SetLabelRequest(name="m", label="stable", version=LARGEST),
        ),
        (set_label_request("m", "stable", None), wire.SetLabelRequest(name="m", label="stable")),
    ],
)
def test_what_operators_ask_for_reaches_the_server(request_: Any, expected: Any) -> None:
    assert request_ == expected


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (lambda: load_model_request("m", LARGEST + 1), "version"),
        (lambda: load_model_request("m", -1), "version"),
        (lambda: load_model_request("\ud800", 1), "name"),
        (lambda: unload_model_request("m", LARGEST + 1, force=True), "version"),
        (lambda: unload_model_request("\ud800", 1, force=True), "name"),
        (lambda: set_label_request("m", "a", LARGEST + 1), "version"),
        (lambda: set_label_request("\ud800", "a", 1), "name"),
        (lambda: set_label_request("m", "\ud800", 1), "label"),
    ],
)
def test_what_no_message_can_hold_names_its_field(ask: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        ask()
    assert raised.value.field == field


@pytest.mark.parametrize(("projection", "context"), [(None, None), (16, None), (None, 5)])
def test_a_network_is_told_with_the_sizes_that_it_has(
    projection: int | None, context: int | None
) -> None:
    network = wire.NetworkDescription(
        embedding_size=8,
        hidden_sizes=[12, 10],
        projection_size=projection,
        tied=True,
        context_size=context,
        device="cpu",
        dtype="float32",
    )
    info = model_info(wire.Model(kind=wire.MODEL_KIND_LSTM, network=network))

    assert info.kind == "lstm"
    assert info.network == NetworkInfo(8, (12, 10), projection, True, context, "cpu", "float32")
    assert info.ngram is None


def test_what_is_not_told_of_a_model_is_absent() -> None:
    newer: Any = 99
    bare = model_info(wire.Model(kind=newer))
    assert (bare.kind, bare.state) == ("unspecified", "unspecified")
    assert (bare.ngram, bare.network, bare.loaded_at, bare.detection_thresholds) == (None,) * 4

    told = wire.Model(
        ngram=wire.NgramDescription(order=2, counts=[5, 3]),
        detection_thresholds=wire.DetectionThresholds(quantile=0.5, surprisal=2.0, misfit=3.0),
        loaded_at=Timestamp(seconds=7),
    )
    info = model_info(told)
    assert info.ngram == NgramInfo(2, (5, 3))
    assert info.detection_thresholds == DetectionThresholds(0.5, 2.0, 3.0)
    assert info.loaded_at == 7
