"""ListModels and GetModel: what is said of a model."""

from __future__ import annotations

from lmscore.models.vocabulary import BOS, EOS, UNK
from lmscore.server.convert.items import identity
from lmscore.server.repository import LoadingModel, ServedModel
from lmscore.v1 import model_service_pb2

_KINDS = {"ngram": model_service_pb2.MODEL_KIND_NGRAM}


def model_message(entry: ServedModel | LoadingModel) -> model_service_pb2.Model:
    """What ListModels and GetModel say of a model."""
    if isinstance(entry, LoadingModel):
        return model_service_pb2.Model(
            identity=identity(entry), state=model_service_pb2.MODEL_STATE_LOADING
        )
    description = entry.model.description
    return model_service_pb2.Model(
        identity=identity(entry),
        kind=_KINDS[description.kind],
        state=model_service_pb2.MODEL_STATE_READY,
        vocabulary_size=description.vocabulary_size,
        parameter_count=description.parameter_count,
        memory_bytes=description.memory_bytes,
        tokenizer=model_service_pb2.TOKENIZER_KIND_WORDS,
        scoring_contract=model_service_pb2.ScoringContract(
            bos_token=BOS,
            eos_token=EOS,
            unknown_token=UNK,
            has_unknown=description.has_unknown,
            unknown_log_prob=description.unknown_log_prob,
        ),
        ngram=model_service_pb2.NgramDescription(
            order=description.order, counts=description.ngram_counts
        ),
    )
