"""Between plain values and the messages of Score and ScoreStream."""

from __future__ import annotations

from collections.abc import Sequence

from lmscore.client.convert.answering import answer_of, item_error, likely_tokens, word_scores
from lmscore.client.convert.checking import (
    checked_number,
    checked_text,
    checked_texts,
    refuse_unknown,
    selector,
)
from lmscore.client.requests import ScoreSettings
from lmscore.client.results import Answer, TextScore, TokenScore
from lmscore.client.status import invalid_argument
from lmscore.v1 import language_model_service_pb2 as wire


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


def stream_request(request_id: int, request: wire.ScoreRequest) -> wire.ScoreStreamRequest:
    """A request of a stream, by its id."""
    return wire.ScoreStreamRequest(request_id=request_id, score=request)


def scores(response: wire.ScoreResponse) -> Answer[TextScore]:
    """Scores of texts or token sequences."""
    return answer_of(response.model, response.scores, _text_score)


def stream_answer(response: wire.ScoreStreamResponse) -> tuple[int, Answer[TextScore]]:
    """Id and scores; raises the LmscoreError of a request that has none."""
    if response.HasField("error"):
        raise item_error(response.error).exception()
    return response.request_id, scores(response.score)


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
