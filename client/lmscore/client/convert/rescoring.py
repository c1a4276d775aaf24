"""Between plain values and the messages of Rescore."""

from __future__ import annotations

from collections.abc import Sequence

from lmscore.client.convert.answering import answer_of
from lmscore.client.convert.checking import HALF_A_PAIR, checked_texts, refuse_unknown, selector
from lmscore.client.errors import ItemError, LmscoreError, MessageTooLargeError
from lmscore.client.requests import Hypothesis, ModelChoice, NBestList, RescoreWeights, name_of
from lmscore.client.results import Answer, ModelIdentity, Ranking, RescoredList
from lmscore.client.status import invalid_argument
from lmscore.v1 import language_model_service_pb2 as wire


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
            raise invalid_argument(f"lists[{i}]", HALF_A_PAIR) from error
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


def _rescored_list(nbest: wire.RescoredList) -> RescoredList:
    return RescoredList(
        nbest.id,
        tuple(nbest.log_probs),
        tuple(nbest.token_counts),
        tuple(nbest.oov_counts),
        tuple(Ranking(tuple(each.order), tuple(each.totals)) for each in nbest.rankings),
    )
