"""Between plain values and messages, which only this module and `convert_generation` both know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol, TypeVar

from google.protobuf.descriptor import EnumDescriptor

from lmscore.client.errors import ItemError, LmscoreError, MessageTooLargeError
from lmscore.client.requests import (
    Hypothesis,
    ModelChoice,
    NBestList,
    PredictSettings,
    RescoreWeights,
    ScoreSettings,
    name_of,
)
from lmscore.client.results import (
    Answer,
    DetectionThresholds,
    LikelyToken,
    ModelIdentity,
    ModelInfo,
    NetworkInfo,
    NgramInfo,
    Prediction,
    Ranking,
    RescoredList,
    ScoringContract,
    TextScore,
    Token,
    TokenScore,
    WordScore,
)
from lmscore.client.status import code_of, invalid_argument
from lmscore.v1 import common_pb2, model_service_pb2
from lmscore.v1 import language_model_service_pb2 as wire

Item = TypeVar("Item")
Message = TypeVar("Message", bound="_HasError")

# --- requests ---


def score_request(
    texts: Sequence[str], default_model: str, settings: ScoreSettings
) -> wire.ScoreRequest:
    """Texts to score."""
    refuse_unknown(settings, ScoreSettings)
    request = _score_settings(default_model, settings)
    request.texts.extend(checked_texts(texts))
    return request


def token_score_request(
    token_sequences: Sequence[Sequence[int]], default_model: str, settings: ScoreSettings
) -> wire.ScoreRequest:
    """Token sequences to score."""
    refuse_unknown(settings, ScoreSettings)
    request = _score_settings(default_model, settings)
    for i, ids in enumerate(token_sequences):
        try:
            request.token_sequences.add(ids=ids)
        except ValueError as error:
            raise invalid_argument(f"token_sequences[{i}]", str(error)) from error
    return request


def rescore_request(
    lists: Sequence[NBestList],
    weights: Sequence[RescoreWeights],
    default_model: str,
    choice: ModelChoice,
) -> wire.RescoreRequest:
    """Lists to rank; all their hypotheses have to have the same features."""
    refuse_unknown(choice, ModelChoice)
    names = checked_texts(_feature_names(lists), "feature_names")
    request = wire.RescoreRequest(model=selector(default_model, choice), feature_names=names)
    for i, nbest in enumerate(lists):
        try:
            _add_list(request, names, nbest)
        except UnicodeEncodeError as error:
            raise invalid_argument(f"lists[{i}]", _HALF_A_PAIR) from error
    for i, setting in enumerate(weights):
        checked_texts(list(setting.feature_weights), f"weights[{i}].feature_weights")
        request.weights.add(
            lm_weight=setting.lm_weight,
            length_bonus=setting.length_bonus,
            oov_penalty=setting.oov_penalty,
            feature_weights=setting.feature_weights,
        )
    return request


def _add_list(request: wire.RescoreRequest, names: Sequence[str], nbest: NBestList) -> None:
    message = request.lists.add(id=nbest.id, context=nbest.context)
    for hypothesis in nbest.hypotheses:
        features = _feature_values(names, hypothesis, nbest.id)
        message.hypotheses.add(text=hypothesis.text, features=features)


def tokenize_request(
    texts: Sequence[str], default_model: str, choice: ModelChoice
) -> wire.TokenizeRequest:
    """Texts to split."""
    refuse_unknown(choice, ModelChoice)
    return wire.TokenizeRequest(model=selector(default_model, choice), texts=checked_texts(texts))


def predict_request(
    prompts: Sequence[str], default_model: str, settings: PredictSettings
) -> wire.PredictRequest:
    """Prompts to continue by one token."""
    refuse_unknown(settings, PredictSettings)
    return wire.PredictRequest(
        model=selector(default_model, settings),
        prompts=checked_texts(prompts, "prompts"),
        top_k=checked_number(settings.get("top_k"), "top_k", 32),
        bos=settings.get("bos"),
    )


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


def _score_settings(default_model: str, settings: ScoreSettings) -> wire.ScoreRequest:
    alternatives = checked_number(settings.get("alternatives"), "alternatives", 32)
    detail = wire.SCORE_DETAIL_TOKENS if settings.get("tokens", False) else wire.SCORE_DETAIL_NONE
    if alternatives:
        detail = wire.SCORE_DETAIL_FULL
    return wire.ScoreRequest(
        model=selector(default_model, settings),
        context=checked_text(settings.get("context", ""), "context"),
        detail=detail,
        bos=settings.get("bos", True),
        eos=settings.get("eos", True),
        alternatives=alternatives or None,
        words=settings.get("words", False),
    )


def refuse_unknown(given: ModelChoice, known: type[ModelChoice]) -> None:
    """TypeError for a misspelt keyword, which would leave its setting at the default."""
    for name in given:
        if name not in known.__annotations__:
            raise TypeError(
                f"there is no setting {name!r}; there are {sorted(known.__annotations__)}"
            )


def selector(default_model: str, choice: ModelChoice) -> common_pb2.ModelSelector:
    """The model that was chosen, or the client's; what a call says beats what a name ends with."""
    model = checked_text(choice.get("model", default_model), "model.name")
    version, label = choice.get("version"), choice.get("label")
    if version is None and label is None:
        version, label = _suffix(model)
    return common_pb2.ModelSelector(
        name=name_of(model),
        version=checked_number(version, "model.version", 64),
        label=checked_text(label, "model.label") if label is not None else None,
    )


def _suffix(model: str) -> tuple[int | None, str | None]:
    """Version and label at the end of NAME:VERSION or NAME@LABEL."""
    _, at, label = model.partition("@")
    if at:
        return None, label
    _, colon, version = model.partition(":")
    if not colon:
        return None, None
    if not (version.isascii() and version.isdigit()):
        raise invalid_argument("model.version", f"{version!r} is not a number")
    return int(version), None


_HALF_A_PAIR = "half a surrogate pair, which UTF-8 cannot spell"


def checked_texts(texts: Sequence[str], field: str = "texts") -> Sequence[str]:
    """The texts, if UTF-8 can spell them; TypeError for one string in place of several."""
    if isinstance(texts, str):  # a sequence of strings too: of its characters
        raise TypeError(f"{field} is one string; give a list of strings")
    for i, text in enumerate(texts):
        if not _encodable(text):
            raise invalid_argument(f"{field}[{i}]", _HALF_A_PAIR)
    return texts


def checked_text(text: str, field: str) -> str:
    """The text, if UTF-8 can spell it."""
    if not _encodable(text):
        raise invalid_argument(field, _HALF_A_PAIR)
    return text


def _encodable(text: str) -> bool:
    try:
        return not isinstance(text, str) or text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def checked_number(number: int | None, field: str, bits: int) -> int | None:
    """The number, if it fits into that many bits."""
    if number is not None and not 0 <= number < 2**bits:
        raise invalid_argument(field, f"{number} is not within 0 and 2**{bits} - 1")
    return number


def _feature_names(lists: Sequence[NBestList]) -> list[str]:
    return next((list(nbest.hypotheses[0].features) for nbest in lists if nbest.hypotheses), [])


def _feature_values(names: Sequence[str], hypothesis: Hypothesis, list_id: str) -> list[float]:
    if len(names) != len(hypothesis.features) or not all(n in hypothesis.features for n in names):
        raise invalid_argument(
            "lists",
            f"list {list_id}: a hypothesis has the features {sorted(hypothesis.features)}"
            f" where the first of the request has {sorted(names)}",
        )
    return [hypothesis.features[name] for name in names]


# --- answers ---


def scores(response: wire.ScoreResponse) -> Answer[TextScore]:
    """Scores of texts or token sequences."""
    return answer_of(response.model, response.scores, _text_score)


def rescored(response: wire.RescoreResponse) -> Answer[RescoredList]:
    """Ranked lists."""
    return answer_of(response.model, response.lists, _rescored_list)


def lists_at_fault(error: LmscoreError) -> bool:
    """Whether a request failed by its lists: another with other lists may have an answer."""
    return isinstance(error, MessageTooLargeError) or error.field.startswith("lists")


def unanswered(
    error: LmscoreError, default_model: str, choice: ModelChoice
) -> Answer[RescoredList]:
    """A request of one list that failed by it; of version 0, as no model has answered."""
    item = ItemError(error.code, error.reason, str(error), error.field)
    name = name_of(choice.get("model", default_model))
    model = ModelIdentity(name, version=0, fingerprint="")
    return Answer(model, (item,))


def tokenized(
    response: wire.TokenizeResponse,
) -> Answer[tuple[Token, ...]]:
    """Tokens of texts."""
    return answer_of(response.model, response.texts, _tokens)


def predictions(response: wire.PredictResponse) -> Answer[Prediction]:
    """What may follow each prompt."""
    return answer_of(response.model, response.predictions, _prediction)


def models(response: model_service_pb2.ListModelsResponse) -> tuple[ModelInfo, ...]:
    """Every model's description."""
    return tuple(model_info(model) for model in response.models)


def stream_request(request_id: int, request: wire.ScoreRequest) -> wire.ScoreStreamRequest:
    """A request of a stream, by its id."""
    return wire.ScoreStreamRequest(request_id=request_id, score=request)


def stream_answer(response: wire.ScoreStreamResponse) -> tuple[int, Answer[TextScore]]:
    """Id and scores; raises the LmscoreError of a request that has none."""
    if response.HasField("error"):
        raise item_error(response.error).exception()
    return response.request_id, scores(response.score)


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


def item_error(error: common_pb2.ItemError) -> ItemError:
    """Why an item, or one request of a stream, has no answer."""
    return ItemError(code_of(error.code), error.reason, error.message, error.field)


class _HasError(Protocol):
    """A message of one item: its answer, or why there is none."""

    @property
    def error(self) -> common_pb2.ItemError: ...

    def HasField(self, field_name: Literal["error"], /) -> bool: ...  # noqa: N802 (protobuf's)


def answer_of(
    identity: common_pb2.ModelIdentity,
    messages: Iterable[Message],
    convert: Callable[[Message], Item],
) -> Answer[Item]:
    """The items of an answer, each converted or with its error."""
    return Answer(
        model_identity(identity),
        tuple(
            item_error(message.error) if message.HasField("error") else convert(message)
            for message in messages
        ),
    )


def model_identity(identity: common_pb2.ModelIdentity) -> ModelIdentity:
    """The model that answered."""
    return ModelIdentity(identity.name, identity.version, identity.fingerprint)


def _text_score(score: wire.TextScore) -> TextScore:
    return TextScore(
        score.log_prob,
        score.log_prob_excluding_oov,
        score.perplexity,
        score.perplexity_excluding_oov,
        score.token_count,
        score.oov_count,
        _token_scores(score.tokens) if score.HasField("tokens") else (),
        word_scores(score.words) if score.HasField("words") else (),
    )


def _token_scores(tokens: wire.TokenScores) -> tuple[TokenScore, ...]:
    absent = [None] * len(tokens.tokens)
    columns = zip(
        tokens.tokens,
        tokens.token_ids,
        tokens.log_probs,
        tokens.oov,
        tokens.begin_bytes or absent,
        tokens.end_bytes or absent,
        tokens.matched_orders or absent,
        tokens.ranks or absent,
        tokens.entropies or absent,
        map(likely_tokens, tokens.alternatives) if tokens.alternatives else [()] * len(absent),
        strict=True,
    )
    return tuple(TokenScore(*row) for row in columns)


def word_scores(words: wire.WordScores) -> tuple[WordScore, ...]:
    """The words of a text."""
    columns = zip(
        words.words,
        words.log_probs,
        words.oov,
        words.begin_bytes,
        words.end_bytes,
        words.token_counts,
        strict=True,
    )
    return tuple(WordScore(*row) for row in columns)


def likely_tokens(tokens: wire.LikelyTokens) -> tuple[LikelyToken, ...]:
    """The head of a distribution, likeliest first."""
    columns = zip(tokens.tokens, tokens.token_ids, tokens.log_probs, strict=True)
    return tuple(LikelyToken(*row) for row in columns)


def _prediction(prediction: wire.Prediction) -> Prediction:
    return Prediction(likely_tokens(prediction.next), prediction.entropy)


def _rescored_list(nbest: wire.RescoredList) -> RescoredList:
    return RescoredList(
        nbest.id,
        tuple(nbest.log_probs),
        tuple(nbest.token_counts),
        tuple(nbest.oov_counts),
        tuple(Ranking(tuple(each.order), tuple(each.totals)) for each in nbest.rankings),
    )


def _tokens(text: wire.TokenizedText) -> tuple[Token, ...]:
    columns = zip(
        text.tokens, text.token_ids, text.begin_bytes, text.end_bytes, text.oov, strict=True
    )
    return tuple(Token(*row) for row in columns)


def enum_name(enum: EnumDescriptor, value: int) -> str:
    """Lower-case name of an enum's value without the prefix that all its names share.

    Values newer than this client are "unspecified", which is what 0 is called.
    """
    names = enum.values_by_number
    prefix = names[0].name.removesuffix("UNSPECIFIED")
    return names.get(value, names[0]).name.removeprefix(prefix).lower()
