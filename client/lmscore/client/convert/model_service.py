"""Between plain values and the messages of ModelService."""

from __future__ import annotations

from lmscore.client.convert.answering import enum_name, model_identity
from lmscore.client.convert.checking import checked_number, checked_text, refuse_unknown, selector
from lmscore.client.requests import ModelChoice
from lmscore.client.results import (
    DetectionThresholds,
    ModelInfo,
    NetworkInfo,
    NgramInfo,
    ScoringContract,
)
from lmscore.v1 import model_service_pb2


def list_models_request() -> model_service_pb2.ListModelsRequest:
    """Every model."""
    return model_service_pb2.ListModelsRequest()


def get_model_request(default_model: str, choice: ModelChoice) -> model_service_pb2.GetModelRequest:
    """A model to describe."""
    refuse_unknown(choice, ModelChoice)
    return model_service_pb2.GetModelRequest(model=selector(default_model, choice))


def load_model_request(name: str, version: int) -> model_service_pb2.LoadModelRequest:
    """A version to load."""
    checked_number(version, "version", 64)
    return model_service_pb2.LoadModelRequest(name=checked_text(name, "name"), version=version)


def unload_model_request(
    name: str, version: int, *, force: bool
) -> model_service_pb2.UnloadModelRequest:
    """A version to take out of service."""
    checked_number(version, "version", 64)
    return model_service_pb2.UnloadModelRequest(
        name=checked_text(name, "name"), version=version, force=force
    )


def set_label_request(
    name: str, label: str, version: int | None
) -> model_service_pb2.SetLabelRequest:
    """What a label is to name."""
    return model_service_pb2.SetLabelRequest(
        name=checked_text(name, "name"),
        label=checked_text(label, "label"),
        version=checked_number(version, "version", 64),
    )


def models(response: model_service_pb2.ListModelsResponse) -> tuple[ModelInfo, ...]:
    """Every model's description."""
    return tuple(model_info(model) for model in response.models)


def model_info(model: model_service_pb2.Model) -> ModelInfo:
    """A model's description."""
    contract = model.scoring_contract
    ngram = NgramInfo(model.ngram.order, tuple(model.ngram.counts))
    return ModelInfo(
        identity=model_identity(model.identity),
        kind=enum_name(model_service_pb2.ModelKind.DESCRIPTOR, model.kind),
        state=enum_name(model_service_pb2.ModelState.DESCRIPTOR, model.state),
        tokenizer=enum_name(model_service_pb2.TokenizerKind.DESCRIPTOR, model.tokenizer),
        vocabulary_size=model.vocabulary_size,
        parameter_count=model.parameter_count,
        memory_bytes=model.memory_bytes,
        scoring_contract=ScoringContract(
            contract.bos_token,
            contract.eos_token,
            contract.unknown_token,
            contract.has_unknown,
            contract.unknown_log_prob,
        ),
        ngram=ngram if model.HasField("ngram") else None,
        network=_network(model.network) if model.HasField("network") else None,
        labels=tuple(model.labels),
        problem=model.problem,
        load_seconds=model.load_seconds,
        loaded_at=model.loaded_at.ToSeconds() if model.HasField("loaded_at") else None,
        detection_thresholds=_thresholds(model.detection_thresholds)
        if model.HasField("detection_thresholds")
        else None,
    )


def _thresholds(found: model_service_pb2.DetectionThresholds) -> DetectionThresholds:
    return DetectionThresholds(found.quantile, found.surprisal, found.misfit)


def _network(network: model_service_pb2.NetworkDescription) -> NetworkInfo:
    return NetworkInfo(
        network.embedding_size,
        tuple(network.hidden_sizes),
        network.projection_size if network.HasField("projection_size") else None,
        network.tied,
        network.context_size if network.HasField("context_size") else None,
        network.device,
        network.dtype,
    )
