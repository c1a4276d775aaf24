"""ListModels and GetModel: what is said of a model."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from lmscore.models.error_detection.calibration import Calibration
from lmscore.models.language_model import NetworkDescription, NgramDescription
from lmscore.models.vocabulary import BOS, EOS, UNK
from lmscore.server.convert.items import identity, special_name
from lmscore.server.repository import (
    Entry,
    FailedModel,
    LoadingModel,
    ModelRepository,
    ServedModel,
)
from lmscore.v1 import model_service_pb2

_KINDS = {
    "ngram": model_service_pb2.MODEL_KIND_NGRAM,
    "feedforward": model_service_pb2.MODEL_KIND_FEEDFORWARD,
    "rnn": model_service_pb2.MODEL_KIND_RNN,
    "lstm": model_service_pb2.MODEL_KIND_LSTM,
    "gru": model_service_pb2.MODEL_KIND_GRU,
}
_TOKENIZERS = {
    "words": model_service_pb2.TOKENIZER_KIND_WORDS,
    "characters": model_service_pb2.TOKENIZER_KIND_CHARACTERS,
    "bytes": model_service_pb2.TOKENIZER_KIND_BYTES,
    "subwords": model_service_pb2.TOKENIZER_KIND_SUBWORDS,
}


def model_message(entry: Entry, repository: ModelRepository) -> model_service_pb2.Model:
    """What ListModels and GetModel say of a model."""
    message = model_service_pb2.Model(
        identity=identity(entry), state=_state(entry), labels=repository.labels_of(entry)
    )
    if isinstance(entry, ServedModel | FailedModel):
        message.problem = entry.problem
    if isinstance(entry, ServedModel):
        message.MergeFrom(_description(entry))
    return message


def _state(entry: Entry) -> model_service_pb2.ModelState.ValueType:
    if isinstance(entry, ServedModel):
        return model_service_pb2.MODEL_STATE_READY
    if isinstance(entry, LoadingModel):
        return model_service_pb2.MODEL_STATE_LOADING
    if isinstance(entry, FailedModel):
        return model_service_pb2.MODEL_STATE_FAILED
    if entry.in_use:
        return model_service_pb2.MODEL_STATE_UNLOADING
    return model_service_pb2.MODEL_STATE_UNLOADED


def _description(entry: ServedModel) -> model_service_pb2.Model:
    description, vocabulary = entry.model.description, entry.model.vocabulary
    return model_service_pb2.Model(
        kind=_KINDS[description.kind],
        vocabulary_size=description.vocabulary_size,
        parameter_count=description.parameter_count,
        memory_bytes=description.memory_bytes,
        tokenizer=_TOKENIZERS[description.tokenizer],
        scoring_contract=model_service_pb2.ScoringContract(
            bos_token=special_name(vocabulary, vocabulary.bos_id, BOS),
            eos_token=special_name(vocabulary, vocabulary.eos_id, EOS),
            unknown_token=special_name(vocabulary, vocabulary.unk_id, UNK),
            has_unknown=description.has_unknown,
            unknown_log_prob=description.unknown_log_prob,
        ),
        load_seconds=entry.load_seconds,
        loaded_at=Timestamp(seconds=int(entry.loaded_at)) if entry.loaded_at else None,
        detection_thresholds=_thresholds(entry.calibration),
        **_structure(description.structure),
    )


def _thresholds(calibration: Calibration | None) -> model_service_pb2.DetectionThresholds | None:
    if calibration is None:
        return None
    return model_service_pb2.DetectionThresholds(
        quantile=calibration.quantile,
        surprisal=calibration.threshold("surprisal"),
        misfit=calibration.threshold("misfit"),
    )


def _structure(structure: NgramDescription | NetworkDescription) -> dict[str, Any]:
    if isinstance(structure, NgramDescription):
        ngram = model_service_pb2.NgramDescription(
            order=structure.order, counts=structure.ngram_counts
        )
        return {"ngram": ngram}
    network = model_service_pb2.NetworkDescription(
        embedding_size=structure.embedding_size,
        hidden_sizes=structure.hidden_sizes,
        projection_size=structure.projection_size,
        tied=structure.tied,
        context_size=structure.context_size,
        device=structure.device,
        dtype=structure.dtype,
    )
    return {"network": network}
