"""Between plain values and the messages of Predict and Tokenize."""

from __future__ import annotations

from collections.abc import Sequence

from lmscore.client.convert.answering import answer_of, likely_tokens
from lmscore.client.convert.checking import checked_number, checked_texts, refuse_unknown, selector
from lmscore.client.requests import ModelChoice, PredictSettings
from lmscore.client.results import Answer, Prediction, Token
from lmscore.v1 import language_model_service_pb2 as wire


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


def predictions(response: wire.PredictResponse) -> Answer[Prediction]:
    """What may follow each prompt."""
    return answer_of(response.model, response.predictions, _prediction)


def _prediction(prediction: wire.Prediction) -> Prediction:
    return Prediction(likely_tokens(prediction.next), prediction.entropy)


def tokenize_request(
    texts: Sequence[str], default_model: str, choice: ModelChoice
) -> wire.TokenizeRequest:
    """Texts to split."""
    refuse_unknown(choice, ModelChoice)
    return wire.TokenizeRequest(model=selector(default_model, choice), texts=checked_texts(texts))


def tokenized(
    response: wire.TokenizeResponse,
) -> Answer[tuple[Token, ...]]:
    """Tokens of texts."""
    return answer_of(response.model, response.texts, _tokens)


def _tokens(text: wire.TokenizedText) -> tuple[Token, ...]:
    columns = zip(
        text.tokens, text.token_ids, text.begin_bytes, text.end_bytes, text.oov, strict=True
    )
    return tuple(Token(*row) for row in columns)
